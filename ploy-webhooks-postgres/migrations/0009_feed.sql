-- The feed: what is told of events and runs as they are committed, a row a call.
--
-- A place in it is a set of transactions, all of which was told: every one below a number but for
-- some, which were under way. So nothing that commits late is passed over, and nobody waits for
-- what else is under way in the server. See src/feed.rs.
CREATE TABLE changes (
    xact       bigint   NOT NULL, -- the transaction that this is of
    -- Of what one reader is told at once this is the order: whoever saw what another had committed
    -- has a greater number.
    number     bigint   GENERATED ALWAYS AS IDENTITY,
    workspaces uuid[]   NOT NULL, -- of the runs, each for itself; those of the events among others
    stream     int,               -- of the events
    events     uuid[],
    runs       uuid[],
    attempts   int[],
    states     text               -- of each run a letter
)
-- What fits into a page stays there, as it is.
WITH (toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0.1,
    autovacuum_vacuum_cost_delay = 0);

ALTER TABLE changes ALTER workspaces SET STORAGE EXTERNAL, ALTER events SET STORAGE EXTERNAL,
    ALTER runs SET STORAGE EXTERNAL, ALTER attempts SET STORAGE EXTERNAL,
    ALTER states SET STORAGE EXTERNAL;

CREATE INDEX changes_by_xact ON changes (xact);

-- Which transactions were over at some times: what was committed before one is as old at least.
CREATE TABLE change_marks (
    at    timestamptz NOT NULL,
    below bigint      NOT NULL, -- all transactions below this were over,
    but   bigint[]    NOT NULL  -- but for these
);

-- The last transaction of which changes were forgotten.
CREATE TABLE forgotten_changes (xact bigint NOT NULL);

INSERT INTO forgotten_changes VALUES (0);

-- Forgets changes that were committed so long ago, of so many rows at most, and says of how many.
-- Not by when they were written: a commit may take long.
CREATE FUNCTION forget_changes(_after interval, _rows int) RETURNS int LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    _now  timestamptz := clock_timestamp();
    _mark change_marks;
    _last bigint;
    _gone int;
BEGIN
    PERFORM FROM change_marks WHERE at > _now - _after / 8;
    IF NOT FOUND THEN
        INSERT INTO change_marks (at, below, but)
        SELECT _now, pg_snapshot_xmax(s)::text::bigint,
            ARRAY(SELECT x::text::bigint FROM pg_snapshot_xip(s) AS x)
        FROM pg_current_snapshot() AS s;
    END IF;
    SELECT * INTO _mark FROM change_marks WHERE at <= _now - _after ORDER BY at DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    DELETE FROM change_marks WHERE at < _mark.at;
    WITH gone AS (
        DELETE FROM changes WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM changes WHERE xact < _mark.below AND xact <> ALL (_mark.but)
            ORDER BY xact LIMIT _rows))
        RETURNING xact
    )
    SELECT max(xact), count(*) INTO _last, _gone FROM gone;
    UPDATE forgotten_changes SET xact = _last WHERE xact < _last;
    RETURN _gone;
END
$$;

-- Stores a batch: one call is one transaction, one round trip and one flush. Returns the numbers of
-- the fences' endpoints, NULL where one does not hold; its events are not stored.
--
-- An array that would have nothing but NULLs is NULL itself, and costs nothing.
DROP FUNCTION append;
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
    _payloads         bytea[],
    _told             uuid[]      -- the workspaces of the batch, each once
) RETURNS bigint[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    _numbers bigint[] := hold(_stripes, _endpoints, _workspaces, _revisions);
    _stored  uuid[] := _ids;
BEGIN
    IF _tail_from IS NOT NULL THEN
        UPDATE streams SET tail_from = _tail_from WHERE number = _stream;
    END IF;
    INSERT INTO events (stream, id, endpoint, workspace, type, source, headers, payload)
    SELECT _stream, _ids[i], _numbers[_fences[i]], _event_workspaces[i], _types[i], _sources[i],
        _headers[i], _payloads[i]
    FROM generate_series(1, cardinality(_ids)) AS i
    WHERE _fences[i] IS NULL OR _numbers[_fences[i]] IS NOT NULL;
    IF array_position(_numbers, NULL) IS NOT NULL THEN
        _stored := ARRAY(SELECT _ids[i] FROM generate_series(1, cardinality(_ids)) AS i
            WHERE _fences[i] IS NULL OR _numbers[_fences[i]] IS NOT NULL);
    END IF;
    IF _stored <> '{}' THEN
        INSERT INTO changes (xact, workspaces, stream, events)
        VALUES (pg_current_xact_id()::text::bigint, _told, _stream, _stored);
    END IF;
    RETURN _numbers;
END
$$;

-- Stores a batch of which some events have a deduplication key or a quota, or owe runs.
DROP FUNCTION append_owing;
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
    _keyed            int[],      -- as of take_keys
    _keys             uuid[],
    _windows_ms       bigint[],
    _covered          uuid[],
    _suspected        uuid[],
    _suspects         int[],
    _followers        int[],      -- events with the key of another one of the batch: left out
    _quota_fences     smallint[], -- as of count_quotas
    _quota_events     bigint[],
    _quota_seconds    bigint[],
    _quota_of         smallint[], -- NULL: no event has a quota
    _owing            int[],      -- which events owe a run
    _run_ids          uuid[],
    _least_run_id     uuid,
    _triggers         text[],
    _delays_ms        bigint[],
    _destinations     uuid[],     -- where runs deliver; NULL: none does
    _told             uuid[],     -- as of append
    OUT numbers       bigint[],   -- as of append
    OUT repeats       int[],      -- which events repeat one that is stored,
    OUT firsts        uuid[],     -- and that one
    OUT over          int[],      -- which events are past their quota,
    OUT resets_ms     bigint[],   -- and when that begins anew
    OUT newest        bigint,     -- as of take_keys
    OUT bytes         bigint
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    _now      timestamptz;
    _is_spent boolean[];
    _spent    int[] := '{}';
    _left_out int[];
    _slot     smallint;
    _stored   uuid[] := _ids;
BEGIN
    numbers := hold(_stripes, _endpoints, _workspaces, _revisions);
    IF _keyed <> '{}' THEN
        PERFORM hold_generations();
    END IF;
    _now := clock_timestamp();
    IF _tail_from IS NOT NULL THEN
        UPDATE streams SET tail_from = _tail_from WHERE number = _stream;
    END IF;

    repeats := '{}';
    firsts := '{}';
    over := '{}';
    resets_ms := '{}';
    IF _quota_of IS NOT NULL THEN
        _is_spent := spent_quotas(numbers, _quota_fences, _quota_events, _quota_seconds);
        IF true = ANY (_is_spent) THEN
            _spent := ARRAY(SELECT i FROM generate_series(1, cardinality(_quota_of)) AS i
                WHERE _is_spent[_quota_of[i]]);
        END IF;
    END IF;
    IF _keyed <> '{}' THEN
        SELECT t.repeats, t.firsts, t.newest, t.bytes, t.slot
        INTO repeats, firsts, newest, bytes, _slot
        FROM take_keys(_now, numbers, _ids, _fences, _keyed, _keys, _windows_ms, _covered,
            _suspected, _suspects, _spent) AS t;
    END IF;
    IF _quota_of IS NOT NULL THEN
        SELECT c.over, c.resets_ms INTO over, resets_ms
        FROM count_quotas(numbers, repeats || _followers, _quota_of, _quota_fences, _quota_events,
            _quota_seconds, _is_spent) AS c;
        IF _keyed <> '{}' AND over <> '{}' THEN
            -- What they took is free again. What had expired there is missed by nobody.
            DELETE FROM dedup d USING unnest(_keyed, _keys) AS k (event, key)
            WHERE d.slot = _slot AND d.key = k.key AND k.event = ANY (over) AND k.event <> ALL (_spent);
        END IF;
    END IF;
    _left_out := repeats || over || _followers;

    INSERT INTO events (stream, id, endpoint, workspace, type, source, headers, payload)
    SELECT _stream, _ids[i], numbers[_fences[i]], _event_workspaces[i], _types[i], _sources[i],
        _headers[i], _payloads[i]
    FROM generate_series(1, cardinality(_ids)) AS i
    WHERE (_fences[i] IS NULL OR numbers[_fences[i]] IS NOT NULL)
        AND (_left_out = '{}' OR i <> ALL (_left_out));

    IF _owing <> '{}' THEN
        PERFORM refuse_known_runs(_event_workspaces, numbers, _workspaces, _fences, _left_out,
            _owing, _run_ids, _least_run_id);
        INSERT INTO owed (owed_at, stream, numbers, endpoints, workspaces, ids, fences,
            event_workspaces, repeats, owing, run_ids, triggers, delays_ms, destinations)
        VALUES (_now, _stream, numbers, _endpoints, _workspaces, _ids, _fences,
            _event_workspaces, _left_out, _owing, _run_ids, _triggers, _delays_ms,
            _destinations);
    END IF;
    IF _left_out <> '{}' OR array_position(numbers, NULL) IS NOT NULL THEN
        _stored := ARRAY(SELECT _ids[i] FROM generate_series(1, cardinality(_ids)) AS i
            WHERE (_fences[i] IS NULL OR numbers[_fences[i]] IS NOT NULL) AND i <> ALL (_left_out));
    END IF;
    IF _stored <> '{}' THEN
        INSERT INTO changes (xact, workspaces, stream, events)
        VALUES (pg_current_xact_id()::text::bigint, _told, _stream, _stored);
    END IF;
END
$$;

-- Claims what is due, lane by lane, and returns it with its events.
--
-- Runs that others are claiming are passed over, so that nobody waits and nobody gets them twice.
-- At most 64 at once: each brings its payload. A run whose event is gone is not handed out, and
-- goes too: one may be added while its event's partition is dropped.
CREATE OR REPLACE FUNCTION claim_runs(
    _worker   text,
    _max      int,
    _lease_ms bigint,
    _each     int,    -- how many of a lane,
    _to_each  int,    -- or of the lane of a destination,
    _in_use   uuid[], -- but for these, ascending,
    _rooms    int[],  -- of which only so many
    _after    uuid    -- the lane to begin after; NULL: at the first
) RETURNS TABLE (
    event_id uuid, endpoint_id uuid, event_workspace uuid, event_type text, event_source bytea,
    event_headers bytea, event_payload bytea, run_id uuid, run_number bigint, run_attempt int,
    run_trigger text, last_served uuid, is_after_loss boolean
) LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_material = off
AS $$
DECLARE
    -- Of lanes that hold something, a claim looks at no more than these once it has found anything.
    LANES_MAX CONSTANT int := 1024;
    _is_owed  boolean;
    _now      timestamptz;
    _left     int := least(_max, 64);
    _lane     uuid;
    _edge     timestamptz; -- before or behind all that is in the lane
    _next     uuid;
    _due      timestamptz;
    _first_of bigint;
    _delivers boolean;
    _endpoint bigint;
    _wraps    boolean;
    _looked   int;
    _used     int; -- the first lane in use that is not before the one that is looked at
    _room     int;
    _found    tid[];
    _lapsed   boolean[]; -- whose lease has ended without a word
    _named    bigint[];
    _places   tid[] := '{}';
    _numbers  bigint[] := '{}';
    _given    bigint;
    _losses   boolean[] := '{}';
    _served   uuid;
BEGIN
    -- Before the line is looked at: what is entered by then is seen in it.
    _is_owed := EXISTS (SELECT FROM owed);
    LOOP
        _now := clock_timestamp();
        _lane := coalesce(_after, '00000000-0000-0000-0000-000000000000');
        _edge := CASE WHEN _after IS NULL THEN '-infinity' ELSE 'infinity' END;
        _wraps := _after IS NOT NULL;
        _used := 1;
        _looked := 0;
        LOOP
            SELECT o.lane, o.due_at, o.endpoint, o.delivers INTO _next, _due, _first_of, _delivers
            FROM open_runs o
            WHERE o.due_at IS NOT NULL AND (o.lane, o.due_at) > (_lane, _edge)
            ORDER BY o.lane, o.due_at LIMIT 1;
            IF _next IS NULL AND _wraps THEN
                _wraps := false;
                _lane := '00000000-0000-0000-0000-000000000000';
                _edge := '-infinity';
                _used := 1;
                CONTINUE;
            END IF;
            -- The end, or all the way round.
            EXIT WHEN _next IS NULL OR (NOT _wraps AND _next > _after);
            _lane := _next;
            _edge := 'infinity';
            _looked := _looked + 1;
            EXIT WHEN _looked > LANES_MAX AND _places <> '{}';
            CONTINUE WHEN _due > _now;

            WHILE _used <= cardinality(_in_use) AND _in_use[_used] < _lane LOOP
                _used := _used + 1;
            END LOOP;
            _room := CASE WHEN _in_use[_used] = _lane THEN _rooms[_used]
                WHEN _delivers THEN _to_each ELSE _each END;
            CONTINUE WHEN _room <= 0;
            -- Those of a deleted endpoint are not claimed. One may have come back by its id.
            IF _delivers THEN
                SELECT array_agg(d.place), array_agg(d.lapsed), array_agg(d.number)
                INTO _found, _lapsed, _named FROM (
                    SELECT o.ctid AS place, o.state = 'running' AS lapsed, o.number
                    FROM open_runs o
                    WHERE o.lane = _lane AND o.due_at <= _now AND (o.endpoint IS NULL
                        OR o.endpoint = (SELECT n.number FROM endpoints n WHERE n.number = o.endpoint))
                    ORDER BY o.due_at LIMIT least(_room, _left) FOR UPDATE OF o SKIP LOCKED
                ) d;
            ELSE
                _endpoint := NULL;
                IF _first_of IS NOT NULL THEN
                    SELECT n.number INTO _endpoint FROM endpoints n WHERE n.id = _lane;
                    CONTINUE WHEN _endpoint IS NULL;
                END IF;
                SELECT array_agg(d.place), array_agg(d.lapsed), array_agg(d.number)
                INTO _found, _lapsed, _named FROM (
                    SELECT o.ctid AS place, o.state = 'running' AS lapsed, o.number
                    FROM open_runs o
                    WHERE o.lane = _lane AND o.due_at <= _now
                        AND o.endpoint IS NOT DISTINCT FROM _endpoint
                    ORDER BY o.due_at LIMIT least(_room, _left) FOR UPDATE SKIP LOCKED
                ) d;
            END IF;
            CONTINUE WHEN _found IS NULL;
            _places := _places || _found;
            _served := _lane;
            _losses := _losses || _lapsed;
            _numbers := _numbers || _named;
            _left := _left - cardinality(_found);
            EXIT WHEN _left <= 0;
        END LOOP;
        EXIT WHEN _places <> '{}' OR NOT _is_owed;
        -- Who stored it does so, as a rule. With fewer than that, it was all that there was.
        _is_owed := enter_runs(64) = 64;
    END LOOP;
    IF _places = '{}' THEN
        RETURN;
    END IF;

    -- Nobody else changes them now, so that they stay where they are.
    IF true = ANY (_losses) THEN
        INSERT INTO attempts (run, number, started_at, worker)
        SELECT o.number, o.attempt, o.started_at, o.worker
        FROM unnest(_places, _losses) AS p (place, is_loss) JOIN open_runs o ON o.ctid = p.place
        WHERE p.is_loss;
    END IF;
    RETURN QUERY
    WITH claimed AS (
        UPDATE open_runs o SET state = 'running', attempt = o.attempt + 1, worker = _worker,
            started_at = _now, due_at = _now + _lease_ms * interval '1 millisecond'
        FROM unnest(_places, _losses) AS p (place, is_loss) WHERE o.ctid = p.place
        RETURNING o.workspace, o.run, o.number, o.attempt, p.is_loss
    ), told AS (
        INSERT INTO changes (xact, workspaces, runs, attempts, states)
        SELECT pg_current_xact_id()::text::bigint, array_agg(c.workspace), array_agg(c.run),
            array_agg(c.attempt), repeat('r', count(*)::int)
        FROM claimed c HAVING count(*) > 0
    )
    SELECT e.id, n.id, coalesce(n.workspace, e.workspace), e.type, e.source, e.headers, e.payload,
        c.run, c.number, c.attempt, r.trigger, _served, c.is_loss
    FROM claimed c
    JOIN runs r ON r.workspace = c.workspace AND r.id = c.run
    JOIN events e ON e.stream = r.stream AND e.id = r.event
    LEFT JOIN endpoints n ON n.number = e.endpoint;
    GET DIAGNOSTICS _given = ROW_COUNT;
    IF _given < cardinality(_places) THEN
        -- Only these: others of the event may be somebody's who claims at the same time.
        WITH gone AS (
            DELETE FROM open_runs o USING unnest(_numbers) AS c (number)
            WHERE o.number = c.number AND o.state = 'running' AND NOT EXISTS (
                SELECT FROM runs r JOIN events e ON e.stream = r.stream AND e.id = r.event
                WHERE r.workspace = o.workspace AND r.id = o.run
            )
            RETURNING o.number, o.workspace, o.run
        ), said AS (
            DELETE FROM attempts a USING gone WHERE a.run = gone.number
        )
        DELETE FROM runs r USING gone WHERE r.workspace = gone.workspace AND r.id = gone.run;
    END IF;
END
$$;

-- Extends leases and ends attempts, as many as wait on one node: one call is one transaction, one
-- round trip and one flush. Returns which of each held, counted from 1.
--
-- A lease is the number of a run, its id and the attempt. They come in the order of the numbers,
-- so that two nodes do not wait for each other.
CREATE OR REPLACE FUNCTION settle_runs(
    _extended          bigint[], -- in each of the three, a lease is there once
    _extended_runs     uuid[],
    _extended_attempts int[],
    _by_ms             bigint[],
    _done              bigint[],
    _done_runs         uuid[],
    _done_attempts     int[],
    _outputs           bytea[],
    _failed            bigint[],
    _failed_runs       uuid[],
    _failed_attempts   int[],
    _errors            bytea[],
    _after_ms          bigint[], -- NULL: given up
    OUT held_extended  bigint[],
    OUT held_done      bigint[],
    OUT held_failed    bigint[],
    OUT is_sooner      boolean   -- whether one is due sooner than who waits believes
) LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
AS $$
DECLARE
    _now              timestamptz := clock_timestamp();
    _place            tid;
    _places           tid[];
    _due              timestamptz;
    _ended_workspaces uuid[] := '{}';
    _ended_runs       uuid[] := '{}';
    _ended_attempts   int[] := '{}';
    _ended_states     text := '';
BEGIN
    is_sooner := false;
    held_extended := '{}';
    FOR i IN 1 .. cardinality(_extended) LOOP
        SELECT o.ctid, o.due_at INTO _place, _due FROM open_runs o
        WHERE o.number = _extended[i] AND o.state = 'running' AND o.run = _extended_runs[i]
            AND o.attempt = _extended_attempts[i] AND (o.endpoint IS NULL
                OR EXISTS (SELECT FROM endpoints n WHERE n.number = o.endpoint))
        FOR UPDATE OF o;
        CONTINUE WHEN NOT FOUND;
        UPDATE open_runs o SET due_at = _now + _by_ms[i] * interval '1 millisecond'
        WHERE o.ctid = _place RETURNING is_sooner OR o.due_at < _due INTO is_sooner;
        held_extended := held_extended || i::bigint;
    END LOOP;

    -- First they are locked, so that they stay where they are and as they are.
    SELECT array_agg(o.place), array_agg(l.nth) INTO _places, held_done
    FROM unnest(_done, _done_runs, _done_attempts) WITH ORDINALITY AS l (number, run, attempt, nth)
    CROSS JOIN LATERAL (
        SELECT o.ctid AS place FROM open_runs o
        WHERE o.number = l.number AND o.state = 'running' AND o.run = l.run
            AND o.attempt = l.attempt AND (o.endpoint IS NULL
                OR EXISTS (SELECT FROM endpoints n WHERE n.number = o.endpoint))
        OFFSET 0 FOR UPDATE OF o
    ) o;
    IF held_done IS NOT NULL THEN
        WITH done AS (
            DELETE FROM open_runs o USING unnest(_places, held_done) AS p (place, nth)
            WHERE o.ctid = p.place
            RETURNING o.workspace, o.run, o.number, o.attempt, o.started_at, o.worker, p.nth
        ), kept AS (
            INSERT INTO attempts (run, number, started_at, worker, ended_at, state, said)
            SELECT number, attempt, started_at, worker, _now, 'succeeded', _outputs[nth] FROM done
        )
        SELECT array_agg(d.workspace), array_agg(d.run), array_agg(d.attempt),
            repeat('s', count(*)::int)
        INTO _ended_workspaces, _ended_runs, _ended_attempts, _ended_states FROM done d;
    END IF;

    SELECT array_agg(o.place), array_agg(l.nth),
        is_sooner OR coalesce(bool_or(l.after_ms IS NOT NULL), false)
    INTO _places, held_failed, is_sooner
    FROM unnest(_failed, _failed_runs, _failed_attempts, _after_ms) WITH ORDINALITY
        AS l (number, run, attempt, after_ms, nth)
    CROSS JOIN LATERAL (
        SELECT o.ctid AS place FROM open_runs o
        WHERE o.number = l.number AND o.state = 'running' AND o.run = l.run
            AND o.attempt = l.attempt AND (o.endpoint IS NULL
                OR EXISTS (SELECT FROM endpoints n WHERE n.number = o.endpoint))
        OFFSET 0 FOR UPDATE OF o
    ) o;
    IF held_failed IS NOT NULL THEN
        WITH failed AS (
            UPDATE open_runs o SET
                state = CASE WHEN _after_ms[p.nth] IS NULL THEN 'failed' ELSE 'retrying' END,
                due_at = _now + _after_ms[p.nth] * interval '1 millisecond'
            FROM unnest(_places, held_failed) AS p (place, nth)
            WHERE o.ctid = p.place
            RETURNING o.workspace, o.run, o.number, o.attempt, o.started_at, o.worker, o.state, p.nth
        ), kept AS (
            INSERT INTO attempts (run, number, started_at, worker, ended_at, state, said,
                again_after_ms)
            SELECT number, attempt, started_at, worker, _now, state, _errors[nth], _after_ms[nth]
            FROM failed
        )
        SELECT _ended_workspaces || array_agg(f.workspace), _ended_runs || array_agg(f.run),
            _ended_attempts || array_agg(f.attempt), _ended_states
                || string_agg(CASE f.state WHEN 'retrying' THEN 'w' ELSE 'f' END, '')
        INTO _ended_workspaces, _ended_runs, _ended_attempts, _ended_states FROM failed f;
    END IF;
    IF _ended_runs <> '{}' THEN
        INSERT INTO changes (xact, workspaces, runs, attempts, states)
        VALUES (pg_current_xact_id()::text::bigint, _ended_workspaces, _ended_runs, _ended_attempts,
            _ended_states);
    END IF;
    IF is_sooner THEN
        PERFORM pg_notify('ploy_runs', current_schema());
    END IF;
END
$$;

-- Moves a run by hand: to that state and due now where that is `queued`, or not any more. Says in
-- which state it was; NULL where there is no such run.
--
-- Who has a lease on a run that is cancelled may not hear of it before that would have ended: until
-- then the run is not due, however often it is queued and cancelled again. A claim finds it over.
CREATE OR REPLACE FUNCTION alter_run(
    _workspace   uuid,
    _run         uuid,
    _from        text[], -- the states in which that may be
    _to          text,
    OUT was      text,
    OUT is_done  boolean
) LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    _now   timestamptz := clock_timestamp();
    _place tid;
    _tried int;
BEGIN
    is_done := false;
    PERFORM FROM runs r WHERE r.workspace = _workspace AND r.id = _run AND (r.endpoint IS NULL
        OR EXISTS (SELECT FROM endpoints n WHERE n.number = r.endpoint));
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT o.ctid, o.state INTO _place, was FROM open_runs o
    WHERE o.workspace = _workspace AND o.run = _run FOR UPDATE;
    IF NOT FOUND THEN
        was := 'succeeded';
    END IF;
    IF was <> ALL (_from) THEN
        RETURN;
    END IF;
    IF was = 'running' THEN
        INSERT INTO attempts (run, number, started_at, worker)
        SELECT number, attempt, started_at, worker FROM open_runs WHERE ctid = _place;
    END IF;
    UPDATE open_runs SET state = _to,
        due_at = CASE WHEN _to = 'queued' THEN greatest(_now, held_until) END,
        held_until = CASE WHEN was = 'running' THEN due_at ELSE held_until END
    WHERE ctid = _place RETURNING attempt INTO _tried;
    INSERT INTO changes (xact, workspaces, runs, attempts, states)
    VALUES (pg_current_xact_id()::text::bigint, ARRAY[_workspace], ARRAY[_run], ARRAY[_tried],
        CASE _to WHEN 'queued' THEN 'q' ELSE 'c' END);
    is_done := true;
    IF _to = 'queued' THEN
        PERFORM pg_notify('ploy_runs', current_schema());
    END IF;
END
$$;

-- Adds runs to what a stored event owes, and says whether there is such an event.
--
-- Its endpoint's deletion waits until this is committed, or this for that one: so what is added goes
-- with the event, when it is purged. The event is looked for once the lock is held.
CREATE OR REPLACE FUNCTION enqueue_runs(
    _stripe       int,   -- of its endpoint; NULL: its event was published by the app
    _stream       int,
    _event        uuid,
    _workspace    uuid,
    _run_ids      uuid[],
    _triggers     text[],
    _delays_ms    bigint[],
    _destinations uuid[] -- where runs deliver
) RETURNS boolean LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    _now      timestamptz;
    _endpoint bigint;
    _lane     uuid;
BEGIN
    IF _stripe IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock_shared(1886154617, _stripe);
    END IF;
    _now := clock_timestamp();
    SELECT e.endpoint, coalesce(n.id, e.workspace) INTO _endpoint, _lane
    FROM events e LEFT JOIN endpoints n ON n.number = e.endpoint
    WHERE e.stream = _stream AND e.id = _event
        AND coalesce(n.workspace, e.workspace) = _workspace LIMIT 1;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    WITH owed AS (
        SELECT nextval('run_numbers') AS number, r.id, r.trigger, r.delay_ms, r.destination
        FROM unnest(_run_ids, _triggers, _delays_ms, _destinations)
            AS r (id, trigger, delay_ms, destination)
    ), kept AS (
        INSERT INTO runs (number, workspace, id, stream, event, endpoint, trigger, created_at,
            destination)
        SELECT number, _workspace, id, _stream, _event, _endpoint, trigger, _now, destination
        FROM owed
    )
    INSERT INTO open_runs (number, due_at, endpoint, lane, workspace, run, attempt, state, delivers)
    SELECT number, _now + delay_ms * interval '1 millisecond', _endpoint,
        coalesce(destination, _lane), _workspace, id, 0, 'queued', destination IS NOT NULL
    FROM owed;
    IF _run_ids <> '{}' THEN
        INSERT INTO changes (xact, workspaces, runs, attempts, states)
        VALUES (pg_current_xact_id()::text::bigint, array_fill(_workspace, ARRAY[cardinality(_run_ids)]),
            _run_ids, array_fill(0, ARRAY[cardinality(_run_ids)]),
            repeat('q', cardinality(_run_ids)));
    END IF;
    PERFORM pg_notify('ploy_runs', current_schema());
    RETURN true;
END
$$;
