-- How much has happened in each workspace, in buckets of time that begin at `at`, in milliseconds.
CREATE TABLE history (
    workspace BLOB    NOT NULL,
    at        INTEGER NOT NULL,
    accepted  INTEGER NOT NULL,
    refused   INTEGER NOT NULL,
    succeeded INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    PRIMARY KEY (workspace, at)
) STRICT, WITHOUT ROWID;
