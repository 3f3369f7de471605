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
-- index has an id below tail_from; NULL: all are in segments. The tenure counts who has held it:
-- a node may not know yet that it has lost a stream, and somebody else may have it.
CREATE TABLE streams (
    number    int    PRIMARY KEY,
    tail_from uuid,
    tenure    bigint NOT NULL DEFAULT 0
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

-- Locks the endpoints that events were checked against, and says which of those states still hold:
-- the numbers of the endpoints, NULL where it does not.
--
-- The statements of a function that is VOLATILE each see what was committed before them. So the
-- revisions are read after the locks are held, and a change that has returned is seen.
CREATE FUNCTION hold(
    _stripes    int[],     -- of the endpoints, each once, ascending
    _endpoints  uuid[],
    _workspaces uuid[],
    _revisions  bigint[]
) RETURNS bigint[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    _numbers bigint[];
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1886154617, stripe) FROM unnest(_stripes) AS stripe;
    FOR i IN 1 .. coalesce(cardinality(_endpoints), 0) LOOP
        _numbers[i] := (SELECT number FROM endpoints WHERE id = _endpoints[i]
            AND workspace = _workspaces[i] AND revision = _revisions[i]);
    END LOOP;
    RETURN _numbers;
END
$$;

-- Stores a batch: one call is one transaction, one round trip and one flush. Returns the numbers of
-- the fences' endpoints, NULL where one does not hold; its events are not stored.
--
-- An array that would have nothing but NULLs is NULL itself, and costs nothing.
CREATE FUNCTION append(
    _stream           int,
    _tail_from        uuid,       -- NULL: as it is
    _stripes          int[],
    _endpoints        uuid[],     -- the fences of the batch, each once
    _workspaces       uuid[],
    _revisions        bigint[],
    _ids              uuid[],
    _fences           smallint[], -- which fence an event has; NULL: none
    _event_workspaces uuid[],     -- only of events without a fence
    _types            text[],
    _sources          bytea[],
    _headers          bytea[],
    _payloads         bytea[]
) RETURNS bigint[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    _numbers bigint[] := hold(_stripes, _endpoints, _workspaces, _revisions);
BEGIN
    IF _tail_from IS NOT NULL THEN
        UPDATE streams SET tail_from = _tail_from WHERE number = _stream;
    END IF;
    INSERT INTO events (stream, id, endpoint, workspace, type, source, headers, payload)
    SELECT _stream, _ids[i], _numbers[_fences[i]], _event_workspaces[i], _types[i], _sources[i],
        _headers[i], _payloads[i]
    FROM generate_series(1, cardinality(_ids)) AS i
    WHERE _fences[i] IS NULL OR _numbers[_fences[i]] IS NOT NULL;
    RETURN _numbers;
END
$$;

-- Stores a batch of which some events have a deduplication key or owe runs.
CREATE FUNCTION append_owing(
    _stream           int,
    _tail_from        uuid,
    _stripes          int[],
    _endpoints        uuid[],
    _workspaces       uuid[],
    _revisions        bigint[],
    _ids              uuid[],
    _fences           smallint[],
    _event_workspaces uuid[],
    _types            text[],
    _sources          bytea[],
    _headers          bytea[],
    _payloads         bytea[],
    _keyed            int[],      -- which events have a key
    _keys             bytea[],
    _windows_ms       bigint[],
    _owing            int[],      -- which events owe a run
    _run_ids          uuid[],
    _triggers         text[],
    _retries          text[],
    _delays_ms        bigint[],
    OUT numbers       bigint[],   -- as of append
    OUT repeats       int[],      -- which events repeat one that is stored,
    OUT firsts        uuid[]      -- and that one
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    _now timestamptz;
    _won int[];
BEGIN
    numbers := hold(_stripes, _endpoints, _workspaces, _revisions);
    _now := clock_timestamp();
    IF _tail_from IS NOT NULL THEN
        UPDATE streams SET tail_from = _tail_from WHERE number = _stream;
    END IF;

    -- Keys are taken in one order, so that two batches never wait for each other. The first of a
    -- batch's own repeats takes its key.
    WITH keyed AS (
        SELECT DISTINCT ON (endpoint, key) d.event, d.key, d.window_ms,
            coalesce(numbers[_fences[d.event]], 0) AS endpoint
        FROM unnest(_keyed, _keys, _windows_ms) AS d (event, key, window_ms)
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
    SELECT coalesce(array_agg(d.event), '{}'), coalesce(array_agg(standing.event), '{}')
    INTO repeats, firsts
    FROM unnest(_keyed, _keys) AS d (event, key)
    JOIN dedup standing
        ON standing.endpoint = coalesce(numbers[_fences[d.event]], 0) AND standing.key = d.key
    WHERE (_fences[d.event] IS NULL OR numbers[_fences[d.event]] IS NOT NULL)
        AND NOT EXISTS (SELECT FROM unnest(_won) AS won WHERE won = d.event);

    INSERT INTO events (stream, id, endpoint, workspace, type, source, headers, payload)
    SELECT _stream, _ids[i], numbers[_fences[i]], _event_workspaces[i], _types[i], _sources[i],
        _headers[i], _payloads[i]
    FROM generate_series(1, cardinality(_ids)) AS i
    WHERE (_fences[i] IS NULL OR numbers[_fences[i]] IS NOT NULL)
        AND NOT EXISTS (SELECT FROM unnest(repeats) AS repeat WHERE repeat = i);

    INSERT INTO runs (id, stream, event, endpoint, trigger, retry, state, created_at, due_at)
    SELECT r.id, _stream, _ids[r.event], numbers[_fences[r.event]], r.trigger, r.retry, 'queued',
        _now, _now + r.delay_ms * interval '1 millisecond'
    FROM unnest(_owing, _run_ids, _triggers, _retries, _delays_ms)
        AS r (event, id, trigger, retry, delay_ms)
    WHERE (_fences[r.event] IS NULL OR numbers[_fences[r.event]] IS NOT NULL)
        AND NOT EXISTS (SELECT FROM unnest(repeats) AS repeat WHERE repeat = r.event);
    IF FOUND THEN
        PERFORM pg_notify('ploy_runs', current_schema());
    END IF;
END
$$;

-- When the next event of an endpoint would be exactly on time (GCRA's theoretical arrival time),
-- in nanoseconds since 1970. Not logged: a crash costs no more than a burst.
CREATE UNLOGGED TABLE rates (
    endpoint uuid   PRIMARY KEY,
    due_ns   bigint NOT NULL
);

-- Admits events of endpoints as far as their rates allow: all that wait on one node, by one call.
CREATE FUNCTION admit(
    _endpoints     uuid[],   -- ascending, so that two nodes never wait for each other
    _asked         bigint[], -- how many events of each wait
    _intervals_ns  bigint[], -- from one event to the next in the long run
    _bursts        bigint[], -- how many may come at once
    OUT admitted   bigint[],
    OUT retry_ns   bigint[]  -- after this time, one more would be
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    _now bigint;
    _due bigint;
    _let bigint;
BEGIN
    FOR i IN 1 .. cardinality(_endpoints) LOOP
        INSERT INTO rates (endpoint, due_ns) VALUES (_endpoints[i], 0) ON CONFLICT DO NOTHING;
        SELECT due_ns INTO _due FROM rates WHERE endpoint = _endpoints[i] FOR UPDATE;
        -- The clock is read by whoever has the row.
        _now := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000;
        _due := greatest(_due, _now);
        _let := greatest(0, least(_asked[i],
            (_now + _bursts[i] * _intervals_ns[i] - _due) / _intervals_ns[i]));
        _due := _due + _let * _intervals_ns[i];
        UPDATE rates SET due_ns = _due WHERE endpoint = _endpoints[i];
        admitted[i] := _let;
        retry_ns[i] := greatest(0, _due + _intervals_ns[i] - _now - _bursts[i] * _intervals_ns[i]);
    END LOOP;
END
$$;
