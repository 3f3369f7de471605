-- Deduplication keys, made anew: a key is half a digest, and stands in one index.
--
-- An index in whose pages keys fall at random is what a key costs: each page of it that is touched
-- after a checkpoint goes whole into the log. So there is one, and what it holds is small.

ALTER TABLE dedup RENAME TO earlier_dedup;
ALTER TABLE earlier_dedup RENAME CONSTRAINT dedup_pkey TO earlier_dedup_pkey;
DROP INDEX dedup_by_expiry;

-- The key is the first half of a SHA-256 over the scope and what the core made its digest of. So a
-- key is of one scope, and the endpoint says of which life of it: one may come back by its id.
CREATE TABLE dedup (
    key        uuid        NOT NULL,
    event      uuid        NOT NULL,
    endpoint   bigint      NOT NULL, -- 0: the app's own events
    expires_at timestamptz NOT NULL
);

-- What has no endpoint has the workspace behind the key.
INSERT INTO dedup (key, event, endpoint, expires_at)
SELECT encode(substring(sha256(CASE
            WHEN d.endpoint = 0 THEN 'w'::bytea || substring(d.key FROM 33) || substring(d.key FOR 32)
            ELSE 'e'::bytea || uuid_send(n.id) || d.key
        END) FOR 16), 'hex')::uuid, d.event, d.endpoint, d.expires_at
FROM earlier_dedup d LEFT JOIN endpoints n ON n.number = d.endpoint
WHERE d.expires_at > now() AND (d.endpoint = 0 OR n.number IS NOT NULL);

DROP TABLE earlier_dedup;

ALTER TABLE dedup ADD PRIMARY KEY (key);
-- A few bytes for many pages: rows come in the order of time, and as a rule expire in it.
CREATE INDEX dedup_by_expiry ON dedup USING brin (expires_at) WITH (pages_per_range = 32, autosummarize = on);
ANALYZE dedup;

-- Which events of a batch have a key that somebody else has, and who. What this transaction wrote it
-- has taken itself; the id of an event alone does not tell, since one may be sent again.
CREATE FUNCTION who_has_keys(
    _now        timestamptz,
    _numbers    bigint[],
    _fences     smallint[],
    _keyed      int[],
    _keys       uuid[],
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
        SELECT d.event FROM dedup d WHERE d.key = k.key AND d.expires_at > _now
            AND d.endpoint = coalesce(_numbers[_fences[k.event]], 0)
            AND d.xmin <> pg_current_xact_id()::xid
        OFFSET 0
    ) standing
    WHERE _fences[k.event] IS NULL OR _numbers[_fences[k.event]] IS NOT NULL;
END
$$;

-- Takes the keys of a batch, and says which of its events repeat one that is stored, and that one.
--
-- Where all were free, it is one statement, which as a rule it is. The keys ascend, so that two
-- batches never wait for each other in a circle.
CREATE FUNCTION take_keys(
    _now        timestamptz,
    _numbers    bigint[],   -- as of append
    _ids        uuid[],
    _fences     smallint[],
    _keyed      int[],      -- which events have a key,
    _keys       uuid[],     -- ascending, each once
    _windows_ms bigint[],
    _spent      int[],      -- events that are stored in no case: they take none
    OUT repeats int[],
    OUT firsts  uuid[]
) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    _taken int;
BEGIN
    INSERT INTO dedup AS standing (key, event, endpoint, expires_at)
    SELECT k.key, _ids[k.event], coalesce(_numbers[_fences[k.event]], 0),
        _now + k.window_ms * interval '1 millisecond'
    FROM unnest(_keyed, _keys, _windows_ms) AS k (event, key, window_ms)
    WHERE (_fences[k.event] IS NULL OR _numbers[_fences[k.event]] IS NOT NULL)
        AND (_spent = '{}' OR k.event <> ALL (_spent))
    ON CONFLICT (key) DO UPDATE
        SET event = excluded.event, endpoint = excluded.endpoint, expires_at = excluded.expires_at
        WHERE standing.expires_at <= _now OR standing.endpoint <> excluded.endpoint;
    GET DIAGNOSTICS _taken = ROW_COUNT;
    IF _taken = cardinality(_keyed) THEN
        repeats := '{}';
        firsts := '{}';
    ELSE
        -- A statement that comes after any wait for another batch.
        SELECT w.repeats, w.firsts INTO repeats, firsts
        FROM who_has_keys(_now, _numbers, _fences, _keyed, _keys) AS w;
    END IF;
END
$$;
