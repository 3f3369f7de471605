-- Deliveries: each destination has a lane of its own, whatever endpoint or workspace its events came
-- from. No earlier run is a delivery.

-- NULL: the run delivers nothing.
ALTER TABLE runs ADD destination uuid;
-- Of a run that does, the lane is the destination, which is the id of nothing else.
ALTER TABLE open_runs ADD delivers boolean NOT NULL DEFAULT false;
-- Beside triggers; NULL where none of them delivers.
ALTER TABLE owed ADD destinations uuid[];
ALTER TABLE owed ALTER destinations SET STORAGE EXTERNAL;

-- What delivers nothing is in neither of these, and what goes well is not in the second.
CREATE INDEX runs_of_destination ON runs (workspace, destination, id)
    WHERE destination IS NOT NULL;
CREATE INDEX open_runs_given_up ON open_runs (workspace, lane, state, run)
    WHERE delivers AND due_at IS NULL;

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
END
$$;

-- Enters what is owed, of that many batches at most, and returns of how many: when those are fewer,
-- all that was committed before is in line. Whoever looks for runs calls it before, each time in a
-- transaction of its own: what is entered stays so, however much there is and however that ends. One
-- does it at a time, and the others wait for it. Who waits for runs is told: here, and not for each
-- batch, because that costs as much as a row.
--
-- A run whose id is another's, put down by another node at the same time, is not entered: ids are
-- made to be different, and what came first stands.
CREATE OR REPLACE FUNCTION enter_runs(_sheets int) RETURNS int LANGUAGE plpgsql VOLATILE
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
    _destinations     uuid[];
    _entered          bigint[] := '{}';
BEGIN
    PERFORM FROM owed LIMIT 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock(1886154620, 0);
    FOR _sheet, _owed_at, _stream, _numbers, _endpoints, _workspaces, _ids, _fences,
        _event_workspaces, _repeats, _owing, _run_ids, _triggers, _delays_ms, _destinations IN
        SELECT sheet, owed_at, stream, numbers, endpoints, workspaces, ids, fences,
            event_workspaces, repeats, owing, run_ids, triggers, delays_ms, destinations
        FROM owed ORDER BY sheet LIMIT _sheets
    LOOP
        WITH owing AS (
            SELECT nextval('run_numbers') AS number, r.id, r.trigger, r.delay_ms, r.destination,
                _ids[r.event] AS event, _numbers[_fences[r.event]] AS endpoint,
                coalesce(_workspaces[_fences[r.event]], _event_workspaces[r.event]) AS workspace,
                coalesce(r.destination, _endpoints[_fences[r.event]], _event_workspaces[r.event])
                    AS lane
            FROM unnest(_owing, _run_ids, _triggers, _delays_ms, _destinations)
                AS r (event, id, trigger, delay_ms, destination)
            WHERE (_fences[r.event] IS NULL OR _numbers[_fences[r.event]] IS NOT NULL)
                AND r.event <> ALL (_repeats)
        ), kept AS (
            INSERT INTO runs (number, workspace, id, stream, event, endpoint, trigger, created_at,
                destination)
            SELECT number, workspace, id, _stream, event, endpoint, trigger, _owed_at, destination
            FROM owing
            ON CONFLICT DO NOTHING RETURNING number
        )
        INSERT INTO open_runs (number, due_at, endpoint, lane, workspace, run, attempt, state,
            delivers)
        SELECT o.number, _owed_at + o.delay_ms * interval '1 millisecond', o.endpoint, o.lane,
            o.workspace, o.id, 0, 'queued', o.destination IS NOT NULL
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
DROP FUNCTION claim_runs;
CREATE FUNCTION claim_runs(
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
DROP FUNCTION enqueue_runs;
CREATE FUNCTION enqueue_runs(
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
    PERFORM pg_notify('ploy_runs', current_schema());
    RETURN true;
END
$$;

-- A slice of the runs of a workspace, those with the greatest ids first, in which all are that are
-- wanted: of all, of those that deliver to a destination, or of those in a state in which they have
-- not succeeded. Of a destination, those that wait in line are looked for among all that do. STABLE,
-- so that it sees what the statement sees that calls it: a run whose attempt ends in between would
-- stand on the page as it never stood.
DROP FUNCTION look_at_runs;
CREATE FUNCTION look_at_runs(
    _workspace   uuid,
    _state       text, -- NULL: any
    _destination uuid, -- NULL: whatever they do
    _below       uuid, -- NULL: from the greatest on
    _slice       bigint
) RETURNS TABLE (
    number bigint, id uuid, event uuid, trigger text, created_at timestamptz, state text,
    attempt int, started_at timestamptz, worker text, is_wanted boolean
) LANGUAGE plpgsql STABLE ROWS 1024
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_material = off
AS $$
#variable_conflict use_column
DECLARE
    _greatest uuid := coalesce(_below, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
BEGIN
    IF coalesce(_state, 'succeeded') = 'succeeded' AND _destination IS NULL THEN
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
    ELSIF coalesce(_state, 'succeeded') = 'succeeded' THEN
        RETURN QUERY
        SELECT r.number, r.id, r.event, r.trigger, r.created_at, coalesce(o.state, 'succeeded'),
            o.attempt, o.started_at, o.worker, r.endpoint IS NULL
                OR EXISTS (SELECT FROM endpoints n WHERE n.number = r.endpoint)
        FROM (
            SELECT * FROM runs
            WHERE workspace = _workspace AND destination = _destination AND id <= _greatest
                AND id IS DISTINCT FROM _below
            ORDER BY id DESC LIMIT _slice
        ) r
        LEFT JOIN open_runs o ON o.workspace = _workspace AND o.run = r.id;
    ELSIF _destination IS NOT NULL AND _state IN ('failed', 'cancelled') THEN
        RETURN QUERY
        SELECT r.number, r.id, r.event, r.trigger, r.created_at, o.state, o.attempt, o.started_at,
            o.worker, r.endpoint IS NULL
                OR EXISTS (SELECT FROM endpoints n WHERE n.number = r.endpoint)
        FROM (
            SELECT * FROM open_runs
            WHERE workspace = _workspace AND lane = _destination AND state = _state
                AND delivers AND due_at IS NULL
                AND run <= _greatest AND run IS DISTINCT FROM _below
            ORDER BY run DESC LIMIT _slice
        ) o
        JOIN runs r ON r.workspace = _workspace AND r.id = o.run;
    ELSE
        RETURN QUERY
        SELECT r.number, o.run, r.event, r.trigger, r.created_at, o.state, o.attempt, o.started_at,
            o.worker, r.id IS NOT NULL AND (r.endpoint IS NULL
                OR EXISTS (SELECT FROM endpoints n WHERE n.number = r.endpoint))
        FROM (
            SELECT * FROM open_runs
            WHERE workspace = _workspace AND state = _state AND run <= _greatest
                AND run IS DISTINCT FROM _below
            ORDER BY run DESC LIMIT _slice
        ) o
        -- NULL, so that those of others are not looked up.
        LEFT JOIN runs r ON r.workspace = _workspace
            AND r.id = CASE WHEN _destination IS NULL OR o.lane = _destination THEN o.run END;
    END IF;
END
$$;

-- After how many milliseconds the first run is due in a lane with room; NULL where there is none.
CREATE OR REPLACE FUNCTION next_due(
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
    _delivers boolean;
    _endpoint bigint;
    _next     int := 1; -- the first full lane that is not before the one that is looked at
    _first    timestamptz;
BEGIN
    LOOP
        SELECT o.lane, o.due_at, o.endpoint, o.delivers INTO _lane, _due, _first_of, _delivers
        FROM open_runs o
        WHERE o.due_at IS NOT NULL AND (o.lane, o.due_at) > (_lane, _edge)
        ORDER BY o.lane, o.due_at LIMIT 1;
        EXIT WHEN _lane IS NULL;
        _edge := 'infinity';
        CONTINUE WHEN _due >= _first;
        WHILE _next <= cardinality(_full) AND _full[_next] < _lane LOOP
            _next := _next + 1;
        END LOOP;
        CONTINUE WHEN _full[_next] = _lane;
        IF _delivers THEN
            -- Those of a deleted endpoint are passed one by one, until they are purged.
            IF _first_of IS NOT NULL
                AND NOT EXISTS (SELECT FROM endpoints n WHERE n.number = _first_of) THEN
                SELECT o.due_at INTO _due FROM open_runs o
                WHERE o.lane = _lane AND o.due_at IS NOT NULL AND (o.endpoint IS NULL
                    OR o.endpoint = (SELECT n.number FROM endpoints n WHERE n.number = o.endpoint))
                ORDER BY o.due_at LIMIT 1;
            END IF;
        ELSIF _first_of IS NOT NULL THEN
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
