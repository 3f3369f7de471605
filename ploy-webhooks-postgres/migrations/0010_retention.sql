-- Removes events that have been kept for long enough, with all that they owed, and says how many
-- went; NULL where the endpoint is not at that revision.
--
-- The statements of a function that is VOLATILE each see what was committed before them. First the
-- events are locked: who adds a run to one holds it until that is committed, and is passed over.
-- Then what is finished of their runs, so that nobody has it tried again by hand. What is seen of
-- them after that holds until the end. A run that is put down and not yet entered keeps its event:
-- both were committed together.
CREATE FUNCTION expire_events(
    _stripe    int,    -- of the endpoint; NULL: the app published the events
    _endpoint  uuid,
    _revision  bigint,
    _workspace uuid,
    _streams   int[],
    _ids       uuid[]
) RETURNS bigint LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_custom_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
AS $$
DECLARE
    _number bigint;
    _least  uuid;
    _most   uuid;
    _owing  uuid[];
    _gone   uuid[];
BEGIN
    IF _endpoint IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock_shared(1886154617, _stripe);
        SELECT number INTO _number FROM endpoints
        WHERE id = _endpoint AND workspace = _workspace AND revision = _revision;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    -- In order, as they are given: a plan that knows them looks at no other partitions.
    _least := _ids[1];
    _most := _ids[cardinality(_ids)];
    SELECT array_agg(e.stream), array_agg(e.id) INTO _streams, _ids FROM (
        SELECT e.stream, e.id FROM unnest(_streams, _ids) AS c (stream, id)
        JOIN events e ON e.stream = c.stream AND e.id = c.id
        WHERE e.id BETWEEN _least AND _most AND e.endpoint IS NOT DISTINCT FROM _number
            AND (_number IS NOT NULL OR e.workspace = _workspace)
        FOR UPDATE OF e SKIP LOCKED
    ) e;
    PERFORM FROM unnest(_ids) AS c (id)
    JOIN runs r ON r.event = c.id
    JOIN open_runs o ON o.workspace = r.workspace AND o.run = r.id
    WHERE o.state IN ('failed', 'cancelled')
    ORDER BY o.number FOR UPDATE OF o;
    _owing := ARRAY(SELECT id FROM owed, unnest(owed.ids) AS id WHERE id BETWEEN _least AND _most);
    WITH gone AS (
        DELETE FROM events e USING unnest(_streams, _ids) AS c (stream, id)
        WHERE e.stream = c.stream AND e.id = c.id AND e.id BETWEEN _least AND _most
            AND NOT EXISTS (
                SELECT FROM runs r
                JOIN open_runs o ON o.workspace = r.workspace AND o.run = r.id
                WHERE r.event = c.id AND o.state IN ('queued', 'running', 'retrying')
            )
            AND c.id <> ALL (_owing)
        RETURNING e.id
    )
    SELECT coalesce(array_agg(id), '{}') INTO _gone FROM gone;
    PERFORM forget_runs(_gone);
    RETURN cardinality(_gone);
END
$$;
