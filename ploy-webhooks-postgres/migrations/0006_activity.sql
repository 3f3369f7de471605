-- What endpoints were sent: how much of a quota is used, and what was observed of senders.

-- Both go with their endpoint: see `chores.rs`. Nobody finds them once it is gone.
CREATE TABLE quotas (
    endpoint bigint PRIMARY KEY,
    seconds  bigint NOT NULL, -- the length of a period; 0: the endpoint's life
    period   bigint NOT NULL, -- the number of the one that was counted last
    used     bigint NOT NULL
)
-- A row is written with each batch of its endpoint, on its own page.
WITH (fillfactor = 20);

CREATE TABLE observed (
    endpoint bigint NOT NULL,
    what     bytea  NOT NULL, -- text, of which `bytea` takes all
    count    bigint NOT NULL,
    last_at  bigint NOT NULL,
    PRIMARY KEY (endpoint, what)
)
WITH (fillfactor = 50);

-- Says which quotas are used up, without a lock: within a period that stays so. So one that is
-- used up costs no write.
CREATE FUNCTION spent_quotas(
    _numbers bigint[],   -- of the endpoints, NULL where the fence does not hold
    _of      smallint[], -- which fence a quota has
    _events  bigint[],
    _seconds bigint[]
) RETURNS boolean[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    _now_ms   bigint := floor(extract(epoch FROM clock_timestamp()) * 1000);
    _is_spent boolean[] := '{}';
BEGIN
    FOR i IN 1 .. cardinality(_of) LOOP
        _is_spent[i] := EXISTS (
            SELECT FROM quotas q WHERE q.endpoint = _numbers[_of[i]] AND q.seconds = _seconds[i]
                AND q.period >= CASE _seconds[i] WHEN 0 THEN 0 ELSE _now_ms / (_seconds[i] * 1000) END
                AND q.used >= _events[i]
        );
    END LOOP;
    RETURN _is_spent;
END
$$;

-- Counts the events of a batch that have a quota, and says which are past it. The endpoints ascend,
-- so that two batches never wait for each other in a circle.
CREATE FUNCTION count_quotas(
    _numbers      bigint[],
    _repeats      int[],      -- events that take nothing
    _quota_of     smallint[], -- which quota an event has; NULL: none
    _of           smallint[],
    _events       bigint[],
    _seconds      bigint[],
    _is_spent     boolean[],
    OUT over      int[],      -- events,
    OUT resets_ms bigint[]    -- and after which time their quota begins anew; NULL: never
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    _number bigint;
    _asking int[];
    _row    quotas;
    _now_ms bigint;
    _period bigint;
    _let    bigint;
BEGIN
    over := '{}';
    resets_ms := '{}';
    FOR i IN 1 .. cardinality(_of) LOOP
        _number := _numbers[_of[i]];
        CONTINUE WHEN _number IS NULL;
        _asking := ARRAY(
            SELECT e FROM generate_series(1, cardinality(_quota_of)) AS e
            WHERE _quota_of[e] = i AND e <> ALL (_repeats) ORDER BY e
        );
        CONTINUE WHEN _asking = '{}';
        _let := 0;
        IF NOT _is_spent[i] THEN
            SELECT * INTO _row FROM quotas WHERE endpoint = _number FOR UPDATE;
            IF NOT FOUND THEN
                INSERT INTO quotas (endpoint, seconds, period, used)
                VALUES (_number, _seconds[i], 0, 0) ON CONFLICT DO NOTHING;
                SELECT * INTO _row FROM quotas WHERE endpoint = _number FOR UPDATE;
            END IF;
        END IF;
        -- The clock is read by whoever has the row.
        _now_ms := floor(extract(epoch FROM clock_timestamp()) * 1000);
        IF NOT _is_spent[i] THEN
            _period := CASE _seconds[i] WHEN 0 THEN 0 ELSE _now_ms / (_seconds[i] * 1000) END;
            IF _row.seconds <> _seconds[i] OR _row.period < _period THEN
                _row.used := 0;
            ELSE
                -- No clock that is set back gives a period twice.
                _period := _row.period;
            END IF;
            _let := greatest(0, least(_events[i] - _row.used, cardinality(_asking)));
            UPDATE quotas SET seconds = _seconds[i], period = _period, used = _row.used + _let
            WHERE endpoint = _number;
        END IF;
        IF _let < cardinality(_asking) THEN
            over := over || _asking[_let + 1 :];
            resets_ms := resets_ms || array_fill(
                CASE WHEN _seconds[i] > 0 THEN _seconds[i] * 1000 - _now_ms % (_seconds[i] * 1000) END,
                ARRAY[cardinality(_asking) - _let::int]);
        END IF;
    END LOOP;
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
            event_workspaces, repeats, owing, run_ids, triggers, delays_ms)
        VALUES (_now, _stream, numbers, _endpoints, _workspaces, _ids, _fences,
            _event_workspaces, _left_out, _owing, _run_ids, _triggers, _delays_ms);
    END IF;
END
$$;

-- Adds up what a node has observed. Of endpoints that are not there it is dropped, and so is what
-- would be one name too many. The endpoints are locked, so that names are counted by one at a time.
CREATE FUNCTION observe(
    _endpoints  uuid[],
    _workspaces uuid[],
    _whats      bytea[],
    _counts     bigint[],
    _last_at    bigint[],
    _names_max  bigint
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM FROM endpoints n WHERE n.id = ANY (_endpoints) ORDER BY n.id FOR NO KEY UPDATE;
    WITH seen AS (
        SELECT n.number AS endpoint, o.what, sum(o.count) AS count, max(o.last_at) AS last_at
        FROM unnest(_endpoints, _workspaces, _whats, _counts, _last_at)
            AS o (endpoint, workspace, what, count, last_at)
        JOIN endpoints n ON n.id = o.endpoint AND n.workspace = o.workspace
        GROUP BY n.number, o.what
    ), named AS (
        SELECT s.*, t.count AS before, greatest(s.last_at, t.last_at) AS last,
            row_number() OVER (PARTITION BY s.endpoint ORDER BY t.endpoint, s.what) AS nth,
            count(t.endpoint) OVER (PARTITION BY s.endpoint) AS again,
            (SELECT count(*) FROM observed o WHERE o.endpoint = s.endpoint) AS there
        FROM seen s LEFT JOIN observed t ON t.endpoint = s.endpoint AND t.what = s.what
    )
    INSERT INTO observed (endpoint, what, count, last_at)
    SELECT endpoint, what, least(coalesce(before, 0) + count, 9223372036854775807), last
    FROM named
    -- Those that are there come first, and count for no new name.
    WHERE before IS NOT NULL OR nth - again + there <= _names_max
    ON CONFLICT (endpoint, what)
        DO UPDATE SET count = excluded.count, last_at = excluded.last_at;
END
$$;

-- Rates of endpoints and of workspaces.
ALTER TABLE rates RENAME COLUMN endpoint TO id;

-- Admits events as far as their rates allow: all that wait on one node, by one call.
DROP FUNCTION admit;
CREATE FUNCTION admit(
    _ids           uuid[],   -- in one order, so that two nodes never wait for each other
    _asked         bigint[], -- how many events of each wait
    _intervals_ns  bigint[], -- from one event to the next in the long run
    _bursts        bigint[], -- how many may come at once
    OUT admitted   bigint[],
    OUT remaining  bigint[], -- how many more would be
    OUT retry_ns   bigint[]  -- after this time, one more would be
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    _now  bigint;
    _due  bigint;
    _room bigint;
    _let  bigint;
BEGIN
    FOR i IN 1 .. cardinality(_ids) LOOP
        INSERT INTO rates (id, due_ns) VALUES (_ids[i], 0) ON CONFLICT DO NOTHING;
        SELECT due_ns INTO _due FROM rates WHERE id = _ids[i] FOR UPDATE;
        -- The clock is read by whoever has the row.
        _now := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint * 1000;
        _due := greatest(_due, _now);
        _room := greatest(0, (_now + _bursts[i] * _intervals_ns[i] - _due) / _intervals_ns[i]);
        _let := least(_asked[i], _room);
        _due := _due + _let * _intervals_ns[i];
        UPDATE rates SET due_ns = _due WHERE id = _ids[i];
        admitted[i] := _let;
        remaining[i] := _room - _let;
        retry_ns[i] := greatest(0, _due + _intervals_ns[i] - _now - _bursts[i] * _intervals_ns[i]);
    END LOOP;
END
$$;
