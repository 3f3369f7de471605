-- Endpoints. Events name them by number, which is half of an id and is never used twice: events
-- of a deleted endpoint belong to nobody until they are purged.
CREATE TABLE endpoints (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         uuid   NOT NULL UNIQUE,
    workspace  uuid   NOT NULL,
    slug       text   COLLATE "C" NOT NULL UNIQUE,
    revision   bigint NOT NULL,
    created_at bigint NOT NULL,
    auth       text   NOT NULL,
    config     text   NOT NULL
);

CREATE INDEX endpoints_of_workspace ON endpoints (workspace, id);

-- A stream is what one writer writes. No event of it that is not in a segment of the search
-- index has an id below tail_from; NULL: all are in segments.
CREATE TABLE streams (
    number    int  PRIMARY KEY,
    tail_from uuid
);

-- Events, in partitions by the time of their ids. The one index serves every way to them: by id,
-- by time, and block by block for a search.
CREATE TABLE events (
    stream    int    NOT NULL,
    id        uuid   NOT NULL,
    endpoint  bigint,          -- NULL: published by the app
    workspace uuid,            -- only where there is no endpoint to say it
    type      text,
    source    bytea,
    headers   bytea,
    payload   bytea  NOT NULL
) PARTITION BY RANGE (id);

-- Compression costs more than it saves at these sizes, and a search reads payloads in parts.
ALTER TABLE events ALTER COLUMN payload SET STORAGE EXTERNAL;
ALTER TABLE events ALTER COLUMN headers SET STORAGE EXTERNAL;

CREATE INDEX events_by_id ON events (stream, id);

-- For ids from clocks that are far off: an event is never refused for want of a partition.
CREATE TABLE events_elsewhen PARTITION OF events DEFAULT;

-- What events owe. due_at is when a run may be claimed: for one under way, the end of its lease;
-- NULL: never again.
CREATE TABLE runs (
    id         uuid        PRIMARY KEY,
    stream     int         NOT NULL,
    event      uuid        NOT NULL,
    endpoint   bigint,
    trigger    text        NOT NULL,
    retry      text        NOT NULL,
    state      text        NOT NULL,
    attempt    int         NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    due_at     timestamptz
);

CREATE INDEX runs_of_event ON runs (event);
CREATE INDEX runs_due ON runs (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE attempts (
    run        uuid        NOT NULL REFERENCES runs ON DELETE CASCADE,
    number     int         NOT NULL,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz,
    state      text,       -- of the run after it
    said       bytea,      -- its output, or what went wrong
    again_after_ms bigint,
    PRIMARY KEY (run, number)
);

-- Deduplication keys within their window. Endpoint 0 stands for the app's own events.
CREATE TABLE dedup (
    endpoint   bigint      NOT NULL,
    key        bytea       NOT NULL,
    event      uuid        NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (endpoint, key)
);

CREATE INDEX dedup_by_expiry ON dedup (expires_at);

-- The index that skips: a row a segment of blocks, and its bits in slices that stand in the row.
CREATE TABLE segments (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream int    NOT NULL,
    salt   bigint NOT NULL,
    min_id uuid   NOT NULL,
    max_id uuid   NOT NULL,
    blocks bytea  NOT NULL
);

CREATE INDEX segments_by_time ON segments (max_id, min_id);
ALTER TABLE segments ALTER COLUMN blocks SET STORAGE PLAIN;

CREATE TABLE segment_bits (
    segment bigint   NOT NULL,
    slice   smallint NOT NULL,
    words   bytea    NOT NULL,
    PRIMARY KEY (segment, slice)
);

ALTER TABLE segment_bits ALTER COLUMN words SET STORAGE PLAIN;

-- The partitions of the events, by the milliseconds of their ids.
CREATE TABLE partitions (
    name    text   PRIMARY KEY,
    from_ms bigint NOT NULL,
    to_ms   bigint NOT NULL
);

-- Deleted endpoints whose history still takes up space.
CREATE TABLE purges (
    endpoint bigint PRIMARY KEY
);

CREATE TABLE tokens (
    name       text   PRIMARY KEY,
    digest     bytea  NOT NULL,
    created_at bigint NOT NULL
);

-- Stores a batch: one call is one transaction, one round trip and one flush.
--
-- The statements of a function that is VOLATILE each see what was committed before them. So the
-- revisions are read after the locks are held, and a change that has returned is seen.
CREATE FUNCTION append(
    _stream            int,
    _tail_from         uuid,      -- NULL: as it is
    _stripes           int[],     -- of the endpoints, each once, ascending
    _endpoints         uuid[],    -- the fences of the batch, each once
    _workspaces        uuid[],
    _revisions         bigint[],
    _ids               uuid[],
    _fences            smallint[], -- which fence an event has; NULL: none
    _event_workspaces  uuid[],    -- only of events without a fence
    _types             text[],
    _sources           bytea[],
    _headers           bytea[],
    _payloads          bytea[],
    _dedup_events      int[],     -- which events have a key
    _dedup_keys        bytea[],
    _dedup_windows_ms  bigint[],
    _run_events        int[],     -- which events owe a run
    _run_ids           uuid[],
    _run_triggers      text[],
    _run_retries       text[],
    _run_delays_ms     bigint[],
    OUT numbers        bigint[],  -- of the fences' endpoints; NULL: it does not hold
    OUT repeats        int[],     -- which events repeat one that is stored,
    OUT firsts         uuid[]     -- and that one
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    _now timestamptz;
    _won int[];
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1886154617, stripe) FROM unnest(_stripes) AS stripe;

    SELECT array_agg(e.number ORDER BY f.place) INTO numbers
    FROM unnest(_endpoints, _workspaces, _revisions)
        WITH ORDINALITY AS f (endpoint, workspace, revision, place)
    LEFT JOIN endpoints e
        ON e.id = f.endpoint AND e.workspace = f.workspace AND e.revision = f.revision;

    IF _tail_from IS NOT NULL THEN
        UPDATE streams SET tail_from = _tail_from WHERE number = _stream;
    END IF;

    IF cardinality(_dedup_events) = 0 AND cardinality(_run_events) = 0 THEN
        INSERT INTO events (stream, id, endpoint, workspace, type, source, headers, payload)
        SELECT _stream, e.id, numbers[e.fence], e.workspace, e.type, e.source, e.headers, e.payload
        FROM unnest(_ids, _fences, _event_workspaces, _types, _sources, _headers, _payloads)
            AS e (id, fence, workspace, type, source, headers, payload)
        WHERE e.fence IS NULL OR numbers[e.fence] IS NOT NULL;
        RETURN;
    END IF;

    _now := clock_timestamp();
    -- Keys are taken in one order, so that two batches never wait for each other. The first of a
    -- batch's own repeats takes its key.
    WITH keyed AS (
        SELECT DISTINCT ON (endpoint, key) d.event, d.key, d.window_ms,
            coalesce(numbers[_fences[d.event]], 0) AS endpoint
        FROM unnest(_dedup_events, _dedup_keys, _dedup_windows_ms) AS d (event, key, window_ms)
        WHERE _fences[d.event] IS NULL OR numbers[_fences[d.event]] IS NOT NULL
        ORDER BY endpoint, key, d.event
    ), taken AS (
        INSERT INTO dedup AS standing (endpoint, key, event, expires_at)
        SELECT endpoint, key, _ids[event], _now + window_ms * interval '1 millisecond' FROM keyed
        ORDER BY endpoint, key
        ON CONFLICT (endpoint, key) DO UPDATE
            SET event = excluded.event, expires_at = excluded.expires_at
            WHERE standing.expires_at <= _now
        RETURNING endpoint, key
    )
    SELECT coalesce(array_agg(keyed.event), '{}') INTO _won
    FROM keyed JOIN taken USING (endpoint, key);

    -- Who did not take its key repeats who has it: now, after any wait for another batch.
    SELECT array_agg(d.event), array_agg(standing.event) INTO repeats, firsts
    FROM unnest(_dedup_events, _dedup_keys) AS d (event, key)
    JOIN dedup standing
        ON standing.endpoint = coalesce(numbers[_fences[d.event]], 0) AND standing.key = d.key
    WHERE (_fences[d.event] IS NULL OR numbers[_fences[d.event]] IS NOT NULL)
        AND NOT EXISTS (SELECT FROM unnest(_won) AS won WHERE won = d.event);

    INSERT INTO events (stream, id, endpoint, workspace, type, source, headers, payload)
    SELECT _stream, e.id, numbers[e.fence], e.workspace, e.type, e.source, e.headers, e.payload
    FROM unnest(_ids, _fences, _event_workspaces, _types, _sources, _headers, _payloads)
        WITH ORDINALITY AS e (id, fence, workspace, type, source, headers, payload, place)
    WHERE (e.fence IS NULL OR numbers[e.fence] IS NOT NULL)
        AND NOT EXISTS (SELECT FROM unnest(repeats) AS repeat WHERE repeat = e.place);

    INSERT INTO runs (id, stream, event, endpoint, trigger, retry, state, created_at, due_at)
    SELECT r.id, _stream, _ids[r.event], numbers[_fences[r.event]], r.trigger, r.retry, 'queued',
        _now, _now + r.delay_ms * interval '1 millisecond'
    FROM unnest(_run_events, _run_ids, _run_triggers, _run_retries, _run_delays_ms)
        AS r (event, id, trigger, retry, delay_ms)
    WHERE (_fences[r.event] IS NULL OR numbers[_fences[r.event]] IS NOT NULL)
        AND NOT EXISTS (SELECT FROM unnest(repeats) AS repeat WHERE repeat = r.event);
    IF FOUND THEN
        PERFORM pg_notify('ploy_runs', current_schema());
    END IF;
END
$$;
