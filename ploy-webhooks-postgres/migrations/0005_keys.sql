-- Deduplication keys, made anew: a key is half a digest, and stands in one index, of its generation.
--
-- An index in whose pages keys fall at random is what a key costs: each page of it that is touched
-- after a checkpoint goes whole into the log. So keys go into the newest of several tables, which is
-- small. All others are sealed: no key is ever added to one, and what a node once read of it holds.

ALTER TABLE dedup RENAME TO earlier_dedup;
ALTER TABLE earlier_dedup RENAME CONSTRAINT dedup_pkey TO earlier_dedup_pkey;
DROP INDEX dedup_by_expiry;

-- The key is the first half of a SHA-256 over the scope and what the core made its digest of. So a
-- key is of one scope, and the endpoint says of which life of it: one may come back by its id.
CREATE TABLE dedup (
    key        uuid        NOT NULL,
    event      uuid        NOT NULL,
    endpoint   bigint      NOT NULL, -- 0: the app's own events
    expires_at timestamptz NOT NULL,
    slot       smallint    NOT NULL
) PARTITION BY LIST (slot);

-- What is in the slots. There are so many for good: no batch waits for a table to be made.
CREATE TABLE generations (
    slot        smallint PRIMARY KEY,
    place       regclass NOT NULL, -- its table
    number      bigint   UNIQUE,   -- NULL: nothing, it is free. The highest is the newest
    -- NULL: not sealed. Nodes know a sealed generation by it and not by the number, which may come
    -- again where a standby that lacks the last commits becomes the primary.
    seal        uuid     UNIQUE,
    most_end_at timestamptz        -- when three in four have expired; NULL: not looked at yet
);

DO $$
BEGIN
    FOR _slot IN 1 .. 32 LOOP
        -- What is only added to and then emptied needs no visits while it is added to.
        EXECUTE format('CREATE TABLE dedup_%1$s PARTITION OF dedup FOR VALUES IN (%1$s)
            WITH (autovacuum_vacuum_insert_threshold = -1)', _slot);
        INSERT INTO generations (slot, place, number)
        VALUES (_slot, ('dedup_' || _slot)::regclass, CASE _slot WHEN 1 THEN 1 END);
    END LOOP;
END
$$;

-- What has no endpoint has the workspace behind the key. All are of the first generation, which is
-- sealed as soon as a node looks at it and finds it large.
INSERT INTO dedup (key, event, endpoint, expires_at, slot)
SELECT encode(substring(sha256(CASE
            WHEN d.endpoint = 0 THEN 'w'::bytea || substring(d.key FROM 33) || substring(d.key FOR 32)
            ELSE 'e'::bytea || uuid_send(n.id) || d.key
        END) FOR 16), 'hex')::uuid, d.event, d.endpoint, d.expires_at, 1
FROM earlier_dedup d LEFT JOIN endpoints n ON n.number = d.endpoint
WHERE d.expires_at > now() AND (d.endpoint = 0 OR n.number IS NOT NULL);

DROP TABLE earlier_dedup;

ALTER TABLE dedup ADD PRIMARY KEY (key, slot);
ANALYZE dedup;

-- Keeps generations as they are until the transaction ends. It is called before they are read, in a
-- statement of its own: what is read then stays so. Who seals one waits for all who hold it.
CREATE FUNCTION hold_generations() RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock_shared(1886154621, 0)
$$;

-- Seals the newest generation and begins another one, unless somebody else has done so or no slot is
-- free: then the newest grows, which is slower and as right.
CREATE FUNCTION seal_generation(_newest bigint) RETURNS void LANGUAGE plpgsql VOLATILE
SET lock_timeout = '200ms' -- batches wait behind
AS $$
DECLARE
    _free smallint;
BEGIN
    PERFORM pg_advisory_xact_lock(1886154621, 0);
    SELECT slot INTO _free FROM generations WHERE number IS NULL ORDER BY slot LIMIT 1;
    IF FOUND AND _newest = (SELECT max(number) FROM generations) THEN
        UPDATE generations SET seal = gen_random_uuid() WHERE number = _newest;
        UPDATE generations SET number = _newest + 1 WHERE slot = _free;
    END IF;
END
$$;

-- Moves so many keys that live on from a sealed generation into the newest, and says how many there
-- were. Batches look into sealed generations before they write to the newest: so one that comes
-- meanwhile finds them in the one or in the other. Where the newest has the key, that is younger. The
-- keys ascend, as those of batches do.
CREATE FUNCTION move_keys(_seal uuid, _rows bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    _from  smallint;
    _to    smallint;
    _moved bigint;
BEGIN
    PERFORM hold_generations();
    SELECT slot INTO _from FROM generations WHERE seal = _seal;
    SELECT slot INTO _to FROM generations WHERE number IS NOT NULL ORDER BY number DESC LIMIT 1;
    WITH moved AS (
        DELETE FROM dedup WHERE slot = _from AND ctid = ANY (ARRAY(
            SELECT ctid FROM dedup
            WHERE slot = _from AND expires_at > clock_timestamp() - interval '1 minute'
            LIMIT _rows))
        RETURNING key, event, endpoint, expires_at
    ), kept AS (
        INSERT INTO dedup (key, event, endpoint, expires_at, slot)
        SELECT key, event, endpoint, expires_at, _to FROM moved ORDER BY key
        ON CONFLICT (key, slot) DO NOTHING
    )
    SELECT count(*) INTO _moved FROM moved;
    RETURN _moved;
END
$$;

-- Empties the slot of a sealed generation of which no key lives, and frees it.
CREATE FUNCTION free_generation(_seal uuid) RETURNS void LANGUAGE plpgsql VOLATILE
SET lock_timeout = '200ms'
AS $$
DECLARE
    _place regclass;
BEGIN
    UPDATE generations SET number = NULL, seal = NULL, most_end_at = NULL WHERE seal = _seal
    RETURNING place INTO _place;
    IF FOUND THEN
        EXECUTE format('TRUNCATE TABLE ONLY %s', _place);
    END IF;
END
$$;

-- Which events of a batch have a key that lives in one of these sealed generations, and who has it.
CREATE FUNCTION who_has_sealed_keys(
    _now        timestamptz,
    _numbers    bigint[],
    _fences     smallint[],
    _keyed      int[],
    _keys       uuid[],
    _covered    uuid[],
    _suspected  uuid[],
    _suspects   int[],
    _slots      smallint[], -- the younger ones first,
    _seals      uuid[],
    OUT repeats int[],
    OUT firsts  uuid[]
) LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
AS $$
DECLARE
    _slot  smallint;
    _asked int[];
    _found int[];
    _who   uuid[];
BEGIN
    repeats := '{}';
    firsts := '{}';
    FOR i IN 1 .. cardinality(_slots) LOOP
        -- Variables: a statement that names one slot opens no other.
        _slot := _slots[i];
        _asked := CASE WHEN _seals[i] = ANY (_covered) THEN ARRAY(
            SELECT s.event FROM unnest(_suspected, _suspects) AS s (seal, event)
            WHERE s.seal = _seals[i]
        ) END;
        SELECT array_agg(k.event), array_agg(standing.event) INTO _found, _who
        FROM unnest(_keyed, _keys) AS k (event, key)
        CROSS JOIN LATERAL (
            SELECT d.event FROM dedup d WHERE d.slot = _slot AND d.key = k.key
                AND d.expires_at > _now
                AND d.endpoint = coalesce(_numbers[_fences[k.event]], 0)
            OFFSET 0
        ) standing
        WHERE (_asked IS NULL OR k.event = ANY (_asked)) AND k.event <> ALL (repeats)
            AND (_fences[k.event] IS NULL OR _numbers[_fences[k.event]] IS NOT NULL);
        IF _found IS NOT NULL THEN
            repeats := repeats || _found;
            firsts := firsts || _who;
        END IF;
    END LOOP;
END
$$;

-- Which events of a batch have a key that somebody else has in the newest generation, and who. What
-- this transaction wrote it has taken itself; the id of an event alone does not tell, since one may be
-- sent again.
CREATE FUNCTION who_has_keys(
    _now        timestamptz,
    _numbers    bigint[],
    _fences     smallint[],
    _keyed      int[],
    _keys       uuid[],
    _known      int[], -- events of which it is known already
    _slot       smallint,
    OUT repeats int[],
    OUT firsts  uuid[]
) LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
AS $$
BEGIN
    SELECT coalesce(array_agg(k.event), '{}'), coalesce(array_agg(standing.event), '{}')
    INTO repeats, firsts
    FROM unnest(_keyed, _keys) AS k (event, key)
    CROSS JOIN LATERAL (
        SELECT d.event FROM dedup d WHERE d.slot = _slot AND d.key = k.key AND d.expires_at > _now
            AND d.endpoint = coalesce(_numbers[_fences[k.event]], 0)
            AND d.xmin <> pg_current_xact_id()::xid
        OFFSET 0
    ) standing
    WHERE (_fences[k.event] IS NULL OR _numbers[_fences[k.event]] IS NOT NULL)
        AND k.event <> ALL (_known);
END
$$;

-- Takes the keys of a batch, and says which of its events repeat one that is stored, and that one.
-- The generations are held since before _now.
--
-- Where all were free, it is one statement beside the look at the generations, which as a rule it is.
-- The keys ascend, so that two batches never wait for each other in a circle.
CREATE FUNCTION take_keys(
    _now        timestamptz,
    _numbers    bigint[],   -- as of append
    _ids        uuid[],
    _fences     smallint[],
    _keyed      int[],      -- which events have a key,
    _keys       uuid[],     -- ascending, each once
    _windows_ms bigint[],
    _covered    uuid[],     -- sealed generations that the node knows: by their seals
    _suspected  uuid[],     -- those of them that may have
    _suspects   int[],      -- the key of that event
    _spent      int[],      -- events that are stored in no case: they take none
    OUT repeats int[],
    OUT firsts  uuid[],
    OUT newest  bigint,     -- the newest generation,
    OUT bytes   bigint,     -- how much is in it,
    OUT slot    smallint    -- and where it is
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    _place regclass;
    _slots smallint[];
    _seals uuid[];
    _taken int;
    _slot  smallint;
    _later record;
BEGIN
    SELECT g.slot, g.number, g.place INTO _slot, newest, _place FROM generations g
    WHERE g.number IS NOT NULL AND g.seal IS NULL;
    slot := _slot;
    repeats := '{}';
    firsts := '{}';
    SELECT array_agg(g.slot ORDER BY g.number DESC), array_agg(g.seal ORDER BY g.number DESC)
    INTO _slots, _seals FROM generations g
    WHERE g.seal IS NOT NULL AND (g.seal <> ALL (_covered) OR g.seal = ANY (_suspected));
    IF _slots IS NOT NULL THEN
        SELECT w.repeats, w.firsts INTO repeats, firsts
        FROM who_has_sealed_keys(_now, _numbers, _fences, _keyed, _keys, _covered, _suspected,
            _suspects, _slots, _seals) AS w;
    END IF;

    INSERT INTO dedup AS standing (key, event, endpoint, expires_at, slot)
    SELECT k.key, _ids[k.event], coalesce(_numbers[_fences[k.event]], 0),
        _now + k.window_ms * interval '1 millisecond', _slot
    FROM unnest(_keyed, _keys, _windows_ms) AS k (event, key, window_ms)
    WHERE (_fences[k.event] IS NULL OR _numbers[_fences[k.event]] IS NOT NULL)
        AND (_spent = '{}' OR k.event <> ALL (_spent))
        AND (repeats = '{}' OR k.event <> ALL (repeats))
    ON CONFLICT (key, slot) DO UPDATE
        SET event = excluded.event, endpoint = excluded.endpoint, expires_at = excluded.expires_at
        WHERE standing.expires_at <= _now OR standing.endpoint <> excluded.endpoint;
    GET DIAGNOSTICS _taken = ROW_COUNT;
    IF _taken < cardinality(_keyed) - cardinality(repeats) THEN
        -- A statement that comes after any wait for another batch.
        SELECT w.repeats, w.firsts INTO _later
        FROM who_has_keys(_now, _numbers, _fences, _keyed, _keys, repeats, _slot) AS w;
        repeats := repeats || _later.repeats;
        firsts := firsts || _later.firsts;
    END IF;
    bytes := pg_relation_size(_place);
END
$$;
