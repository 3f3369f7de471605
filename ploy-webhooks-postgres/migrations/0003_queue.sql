-- What is done with runs: entered, claimed, settled, moved by hand, listed, forgotten.
--
-- The functions that look for runs plan their statements once a session, and by index whatever the
-- statistics say: those of a table that was empty an hour ago, or is full of what is dead, mislead.

-- Which way a join goes is said where it matters, by OFFSET 0: a plan that was made when a table had
-- no rows would go through all that it has now.

-- Refuses a batch whose runs are some that are entered already. Those that are not yet are known to
-- the node that put them down.
CREATE FUNCTION refuse_known_runs(
    _event_workspaces uuid[],
    _numbers          bigint[],
    _workspaces       uuid[],
    _fences           smallint[],
    _repeats          int[],
    _owing            int[],
    _run_ids          uuid[],
    _least            uuid
) RETURNS void LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
BEGIN
    -- As a rule there is nothing as young as any of them.
    PERFORM FROM unnest(_workspaces) AS w (id) CROSS JOIN LATERAL (
        SELECT FROM runs r WHERE r.workspace = w.id AND r.id >= _least LIMIT 1
    ) r LIMIT 1;
    IF NOT FOUND AND _event_workspaces IS NOT NULL THEN
        PERFORM FROM (SELECT DISTINCT w.id FROM unnest(_event_workspaces) AS w (id)) w
        CROSS JOIN LATERAL (
            SELECT FROM runs r WHERE r.workspace = w.id AND r.id >= _least LIMIT 1
        ) r LIMIT 1;
    END IF;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM FROM unnest(_owing, _run_ids) AS o (event, id)
    CROSS JOIN LATERAL (
        SELECT FROM runs r WHERE r.id = o.id
            AND r.workspace = coalesce(_workspaces[_fences[o.event]], _event_workspaces[o.event])
        OFFSET 0
    ) r
    WHERE (_fences[o.event] IS NULL OR _numbers[_fences[o.event]] IS NOT NULL)
        AND o.event <> ALL (_repeats);
    IF FOUND THEN
        RAISE unique_violation USING MESSAGE = 'a run with that id is stored already';
    END IF;
END
$$;

-- Stores a batch of which some events have a deduplication key or owe runs.
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
    _keyed            int[],      -- which events have a key
    _keys             bytea[],
    _windows_ms       bigint[],
    _owing            int[],      -- which events owe a run
    _run_ids          uuid[],
    _least_run_id     uuid,
    _triggers         text[],
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

    repeats := '{}';
    firsts := '{}';
    IF _keyed <> '{}' THEN
        -- Keys are taken in one order, so that two batches never wait for each other. The first of
        -- a batch's own repeats takes its key.
        WITH keyed AS (
            SELECT DISTINCT ON (endpoint, key) d.event, d.key, d.window_ms,
                coalesce(numbers[_fences[d.event]], 0) AS endpoint
            FROM unnest(_keyed, _keys, _windows_ms) AS d (event, key, window_ms)
            WHERE _fences[d.event] IS NULL OR numbers[_fences[d.event]] IS NOT NULL
            ORDER BY endpoint, key, d.event
        ), taken AS (
            INSERT INTO dedup AS standing (endpoint, key, event, expires_at)
            SELECT endpoint, key, _ids[event], _now + window_ms * interval '1 millisecond'
            FROM keyed ORDER BY endpoint, key
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
    END IF;

    INSERT INTO events (stream, id, endpoint, workspace, type, source, headers, payload)
    SELECT _stream, _ids[i], numbers[_fences[i]], _event_workspaces[i], _types[i], _sources[i],
        _headers[i], _payloads[i]
    FROM generate_series(1, cardinality(_ids)) AS i
    WHERE (_fences[i] IS NULL OR numbers[_fences[i]] IS NOT NULL)
        AND (repeats = '{}' OR i <> ALL (repeats));

    IF _owing <> '{}' THEN
        PERFORM refuse_known_runs(_event_workspaces, numbers, _workspaces, _fences, repeats, _owing,
            _run_ids, _least_run_id);
        INSERT INTO owed (owed_at, stream, numbers, endpoints, workspaces, ids, fences,
            event_workspaces, repeats, owing, run_ids, triggers, delays_ms)
        VALUES (_now, _stream, numbers, _endpoints, _workspaces, _ids, _fences,
            _event_workspaces, repeats, _owing, _run_ids, _triggers, _delays_ms);
    END IF;
END
$$;

-- Enters what is owed, of that many batches at most, and returns of how many: when those are fewer,
-- all that was committed before is in line. Whoever looks for runs calls it before, each time in a
-- transaction of its own: what is entered stays so, however much there is and however that ends. One does it at a time, and the others wait for it. Who
-- waits for runs is told: here, and not for each batch, because that costs as much as a row.
--
-- A run whose id is another's, put down by another node at the same time, is not entered: ids are
-- made to be different, and what came first stands.
CREATE FUNCTION enter_runs(_sheets int) RETURNS int LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    _sheet            bigint;
    _owed_at          timestamptz;
    _stream           int;
    -- Variables, because the fields of a record would be put together anew for each of their items.
    _numbers          bigint[];
    _endpoints        uuid[];
    _workspaces       uuid[];
    _ids              uuid[];
    _fences           smallint[];
    _event_workspaces uuid[];
    _repeats          int[];
    _owing            int[];
    _run_ids          uuid[];
    _triggers         text[];
    _delays_ms        bigint[];
    _entered          bigint[] := '{}';
BEGIN
    PERFORM FROM owed LIMIT 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock(1886154620, 0);
    FOR _sheet, _owed_at, _stream, _numbers, _endpoints, _workspaces, _ids, _fences,
        _event_workspaces, _repeats, _owing, _run_ids, _triggers, _delays_ms IN
        SELECT sheet, owed_at, stream, numbers, endpoints, workspaces, ids, fences,
            event_workspaces, repeats, owing, run_ids, triggers, delays_ms
        FROM owed ORDER BY sheet LIMIT _sheets
    LOOP
        WITH owing AS (
            SELECT nextval('run_numbers') AS number, r.id, r.trigger, r.delay_ms,
                _ids[r.event] AS event, _numbers[_fences[r.event]] AS endpoint,
                coalesce(_workspaces[_fences[r.event]], _event_workspaces[r.event]) AS workspace,
                coalesce(_endpoints[_fences[r.event]], _event_workspaces[r.event]) AS lane
            FROM unnest(_owing, _run_ids, _triggers, _delays_ms)
                AS r (event, id, trigger, delay_ms)
            WHERE (_fences[r.event] IS NULL OR _numbers[_fences[r.event]] IS NOT NULL)
                AND r.event <> ALL (_repeats)
        ), kept AS (
            INSERT INTO runs (number, workspace, id, stream, event, endpoint, trigger, created_at)
            SELECT number, workspace, id, _stream, event, endpoint, trigger, _owed_at FROM owing
            ON CONFLICT DO NOTHING RETURNING number
        )
        INSERT INTO open_runs (number, due_at, endpoint, lane, workspace, run, attempt, state)
        SELECT o.number, _owed_at + o.delay_ms * interval '1 millisecond', o.endpoint, o.lane,
            o.workspace, o.id, 0, 'queued'
        FROM owing o JOIN kept k ON k.number = o.number;
        _entered := _entered || _sheet;
    END LOOP;
    IF _entered <> '{}' THEN
        DELETE FROM owed WHERE sheet = ANY (_entered);
        PERFORM pg_notify('ploy_runs', current_schema());
    END IF;
    RETURN cardinality(_entered);
END
$$;

-- Claims what is due, lane by lane, and returns it with its events.
--
-- Runs that others are claiming are passed over, so that nobody waits and nobody gets them twice.
-- At most 64 at once: each brings its payload. A run whose event is gone is not handed out, and
-- goes too: one may be added while its event's partition is dropped.
CREATE FUNCTION claim_runs(
    _worker   text,
    _max      int,
    _lease_ms bigint,
    _each     int,    -- how many of a lane,
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
            SELECT o.lane, o.due_at, o.endpoint INTO _next, _due, _first_of FROM open_runs o
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
            _room := CASE WHEN _in_use[_used] = _lane THEN _rooms[_used] ELSE _each END;
            CONTINUE WHEN _room <= 0;
            -- Those of a deleted endpoint are not claimed. One may have come back by its id.
            _endpoint := NULL;
            IF _first_of IS NOT NULL THEN
                SELECT n.number INTO _endpoint FROM endpoints n WHERE n.id = _lane;
                CONTINUE WHEN _endpoint IS NULL;
            END IF;

            SELECT array_agg(d.place), array_agg(d.lapsed), array_agg(d.number)
            INTO _found, _lapsed, _named FROM (
                SELECT o.ctid AS place, o.state = 'running' AS lapsed, o.number FROM open_runs o
                WHERE o.lane = _lane AND o.due_at <= _now
                    AND o.endpoint IS NOT DISTINCT FROM _endpoint
                ORDER BY o.due_at LIMIT least(_room, _left) FOR UPDATE SKIP LOCKED
            ) d;
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

-- Adds runs to what a stored event owes, and says whether there is such an event.
--
-- Its endpoint's deletion waits until this is committed, or this for that one: so what is added goes
-- with the event, when it is purged. The event is looked for once the lock is held.
CREATE FUNCTION enqueue_runs(
    _stripe    int,     -- of its endpoint; NULL: its event was published by the app
    _stream    int,
    _event     uuid,
    _workspace uuid,
    _run_ids   uuid[],
    _triggers  text[],
    _delays_ms bigint[]
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
        SELECT nextval('run_numbers') AS number, r.id, r.trigger, r.delay_ms
        FROM unnest(_run_ids, _triggers, _delays_ms) AS r (id, trigger, delay_ms)
    ), kept AS (
        INSERT INTO runs (number, workspace, id, stream, event, endpoint, trigger, created_at)
        SELECT number, _workspace, id, _stream, _event, _endpoint, trigger, _now FROM owed
    )
    INSERT INTO open_runs (number, due_at, endpoint, lane, workspace, run, attempt, state)
    SELECT number, _now + delay_ms * interval '1 millisecond', _endpoint, _lane, _workspace, id, 0,
        'queued'
    FROM owed;
    PERFORM pg_notify('ploy_runs', current_schema());
    RETURN true;
END
$$;

-- A slice of the runs of a workspace, those with the greatest ids first: of all, or of those in a
-- state in which they have not succeeded. STABLE, so that it sees what the statement sees that calls
-- it: a run whose attempt ends in between would stand on the page as it never stood.
CREATE FUNCTION look_at_runs(
    _workspace uuid,
    _state     text,
    _below     uuid, -- NULL: from the greatest on
    _slice     bigint
) RETURNS TABLE (
    number bigint, id uuid, event uuid, trigger text, created_at timestamptz, state text,
    attempt int, started_at timestamptz, worker text, is_alive boolean
) LANGUAGE plpgsql STABLE ROWS 1024
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_material = off
AS $$
#variable_conflict use_column
DECLARE
    _greatest uuid := coalesce(_below, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
BEGIN
    IF _state IS NULL OR _state = 'succeeded' THEN
        RETURN QUERY
        SELECT r.number, r.id, r.event, r.trigger, r.created_at, coalesce(o.state, 'succeeded'),
            o.attempt, o.started_at, o.worker, r.endpoint IS NULL
                OR EXISTS (SELECT FROM endpoints n WHERE n.number = r.endpoint)
        FROM (
            SELECT * FROM runs
            WHERE workspace = _workspace AND id <= _greatest AND id IS DISTINCT FROM _below
            ORDER BY id DESC LIMIT _slice
        ) r
        LEFT JOIN open_runs o ON o.workspace = _workspace AND o.run = r.id;
    ELSE
        RETURN QUERY
        SELECT r.number, r.id, r.event, r.trigger, r.created_at, o.state, o.attempt, o.started_at,
            o.worker, r.endpoint IS NULL
                OR EXISTS (SELECT FROM endpoints n WHERE n.number = r.endpoint)
        FROM (
            SELECT * FROM open_runs
            WHERE workspace = _workspace AND state = _state AND run <= _greatest
                AND run IS DISTINCT FROM _below
            ORDER BY run DESC LIMIT _slice
        ) o
        JOIN runs r ON r.workspace = _workspace AND r.id = o.run;
    END IF;
END
$$;

-- After how many milliseconds the first run is due in a lane with room; NULL where there is none.
CREATE FUNCTION next_due(
    _full uuid[] -- lanes without room, ascending
) RETURNS bigint LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_sort = off
AS $$
DECLARE
    _now      timestamptz := clock_timestamp();
    _lane     uuid := '00000000-0000-0000-0000-000000000000';
    _edge     timestamptz := '-infinity';
    _due      timestamptz;
    _first_of bigint;
    _endpoint bigint;
    _next     int := 1; -- the first full lane that is not before the one that is looked at
    _first    timestamptz;
BEGIN
    LOOP
        SELECT o.lane, o.due_at, o.endpoint INTO _lane, _due, _first_of FROM open_runs o
        WHERE o.due_at IS NOT NULL AND (o.lane, o.due_at) > (_lane, _edge)
        ORDER BY o.lane, o.due_at LIMIT 1;
        EXIT WHEN _lane IS NULL;
        _edge := 'infinity';
        CONTINUE WHEN _due >= _first;
        WHILE _next <= cardinality(_full) AND _full[_next] < _lane LOOP
            _next := _next + 1;
        END LOOP;
        CONTINUE WHEN _full[_next] = _lane;
        IF _first_of IS NOT NULL THEN
            SELECT n.number INTO _endpoint FROM endpoints n WHERE n.id = _lane;
            CONTINUE WHEN _endpoint IS NULL;
            IF _endpoint <> _first_of THEN
                SELECT o.due_at INTO _due FROM open_runs o
                WHERE o.lane = _lane AND o.due_at IS NOT NULL AND o.endpoint = _endpoint
                ORDER BY o.due_at LIMIT 1;
            END IF;
        END IF;
        _first := least(_first, _due);
        EXIT WHEN _first <= _now;
    END LOOP;
    RETURN ceil(extract(epoch FROM _first - _now) * 1000);
END
$$;

-- Extends leases and ends attempts, as many as wait on one node: one call is one transaction, one
-- round trip and one flush. Returns which of each held, counted from 1.
--
-- A lease is the number of a run, its id and the attempt. They come in the order of the numbers,
-- so that two nodes do not wait for each other.
CREATE FUNCTION settle_runs(
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
    _now    timestamptz := clock_timestamp();
    _place  tid;
    _places tid[];
    _due    timestamptz;
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
            RETURNING o.number, o.attempt, o.started_at, o.worker, p.nth
        )
        INSERT INTO attempts (run, number, started_at, worker, ended_at, state, said)
        SELECT number, attempt, started_at, worker, _now, 'succeeded', _outputs[nth] FROM done;
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
            RETURNING o.number, o.attempt, o.started_at, o.worker, o.state, p.nth
        )
        INSERT INTO attempts (run, number, started_at, worker, ended_at, state, said,
            again_after_ms)
        SELECT number, attempt, started_at, worker, _now, state, _errors[nth], _after_ms[nth]
        FROM failed;
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
CREATE FUNCTION alter_run(
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
    WHERE ctid = _place;
    is_done := true;
    IF _to = 'queued' THEN
        PERFORM pg_notify('ploy_runs', current_schema());
    END IF;
END
$$;

-- Deletes what the events owe, as far as it is entered. Who has a lease is waited for, in a statement before the one that
-- deletes attempts: so it sees every attempt there will be.
CREATE FUNCTION forget_runs(_events uuid[]) RETURNS void LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
AS $$
DECLARE
    _numbers    bigint[];
    _workspaces uuid[];
    _runs       uuid[];
BEGIN
    SELECT array_agg(r.number), array_agg(r.workspace), array_agg(r.id)
    INTO _numbers, _workspaces, _runs
    FROM (
        SELECT r.number, r.workspace, r.id FROM unnest(_events) AS gone (event)
        CROSS JOIN LATERAL (SELECT * FROM runs r WHERE r.event = gone.event OFFSET 0) r
        ORDER BY r.number
    ) r;
    IF _numbers IS NULL THEN
        RETURN;
    END IF;
    DELETE FROM open_runs o USING unnest(_workspaces, _runs) AS gone (workspace, run)
    WHERE o.workspace = gone.workspace AND o.run = gone.run;
    DELETE FROM attempts a USING unnest(_numbers) AS gone (number) WHERE a.run = gone.number;
    DELETE FROM runs r USING unnest(_workspaces, _runs) AS gone (workspace, id)
    WHERE r.workspace = gone.workspace AND r.id = gone.id;
END
$$;
