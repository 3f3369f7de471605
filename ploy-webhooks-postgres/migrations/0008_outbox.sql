-- What apps publish in transactions of their own, until the relay has made events of it.
CREATE TABLE outbox (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         uuid   NOT NULL, -- that the event will have
    workspace  uuid   NOT NULL,
    type       text   NOT NULL,
    key        bytea,           -- of idempotency: text, of which `bytea` takes all
    payload    bytea  NOT NULL,
    not_before timestamptz,     -- when it is tried again, having failed by itself; NULL: now
    failure    text             -- and with what it failed
)
-- As short as the line; what is dead goes before there is much of it.
WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_threshold = 10000);

ALTER TABLE outbox ALTER payload SET STORAGE EXTERNAL;

-- Which node relays, and until when nobody else does. That spares the work of two, and no more: of
-- several that relay one row, one makes an event of it.
CREATE TABLE relaying (
    relay uuid        NOT NULL,
    until timestamptz NOT NULL
);

INSERT INTO relaying VALUES ('00000000-0000-0000-0000-000000000000', '-infinity');

-- The next that are to be relayed, where nobody else does: so many rows, and of payloads so many bytes
-- and what the last row has beyond.
CREATE FUNCTION take_outbox(_relay uuid, _rows int, _bytes bigint) RETURNS TABLE (
    number bigint, id uuid, workspace uuid, type text, key bytea, payload bytea
) LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
    _now timestamptz := clock_timestamp();
BEGIN
    PERFORM FROM outbox LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- Written now and then, and not for each batch.
    PERFORM FROM relaying r WHERE r.relay = _relay AND r.until > _now + interval '5 seconds';
    IF NOT FOUND THEN
        UPDATE relaying r SET relay = _relay, until = _now + interval '10 seconds'
        WHERE r.relay = _relay OR r.until <= _now;
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    RETURN QUERY
    SELECT o.number, o.id, o.workspace, o.type, o.key, o.payload FROM (
        SELECT w.*, sum(octet_length(w.payload)) OVER (ORDER BY w.number
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
        FROM (
            SELECT * FROM outbox
            WHERE not_before IS NULL OR not_before <= _now ORDER BY number LIMIT _rows
        ) w
    ) o
    WHERE coalesce(o.bytes_before, 0) < _bytes ORDER BY o.number;
END
$$;
