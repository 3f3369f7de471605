-- How much has happened in each workspace, in buckets of time that begin at `at`, in milliseconds.
CREATE TABLE history (
    workspace uuid   NOT NULL,
    at        bigint NOT NULL,
    accepted  bigint NOT NULL,
    refused   bigint NOT NULL,
    succeeded bigint NOT NULL,
    failed    bigint NOT NULL,
    PRIMARY KEY (workspace, at)
);

-- Adds up what a node has counted, and lets go of what is too old beside it. Rows are taken in one
-- order, so that two nodes never wait for each other.
CREATE FUNCTION tally(
    _workspaces uuid[],
    _at         bigint[],
    _accepted   bigint[],
    _refused    bigint[],
    _succeeded  bigint[],
    _failed     bigint[],
    _kept_ms    bigint
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    _most CONSTANT bigint := 9223372036854775807;
BEGIN
    INSERT INTO history AS kept (workspace, at, accepted, refused, succeeded, failed)
    SELECT workspace, at, least(sum(accepted), _most), least(sum(refused), _most),
        least(sum(succeeded), _most), least(sum(failed), _most)
    FROM unnest(_workspaces, _at, _accepted, _refused, _succeeded, _failed)
        AS t (workspace, at, accepted, refused, succeeded, failed)
    GROUP BY workspace, at
    ORDER BY workspace, at
    ON CONFLICT (workspace, at) DO UPDATE SET
        accepted = kept.accepted + least(excluded.accepted, _most - kept.accepted),
        refused = kept.refused + least(excluded.refused, _most - kept.refused),
        succeeded = kept.succeeded + least(excluded.succeeded, _most - kept.succeeded),
        failed = kept.failed + least(excluded.failed, _most - kept.failed);

    DELETE FROM history WHERE (workspace, at) IN (
        SELECT h.workspace, h.at
        FROM (SELECT workspace, max(at) AS newest FROM unnest(_workspaces, _at) AS t (workspace, at)
            GROUP BY workspace) AS t
        JOIN history h ON h.workspace = t.workspace AND h.at < t.newest - _kept_ms
        ORDER BY h.workspace, h.at
        FOR UPDATE OF h SKIP LOCKED
    );
END
$$;
