-- Endpoints. A number is never used twice, so that events of a deleted endpoint stay orphans
-- until they are purged.
CREATE TABLE endpoints (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         BLOB    NOT NULL UNIQUE,
    workspace  BLOB    NOT NULL,
    slug       TEXT    NOT NULL UNIQUE,
    revision   INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    auth       TEXT    NOT NULL,
    config     TEXT    NOT NULL
) STRICT;

CREATE INDEX endpoints_of_workspace ON endpoints (workspace, id);

-- Events in the order of their commits. No index: see src/search.rs. The payload comes last, so
-- that what stands before it is read without it.
CREATE TABLE events (
    seq       INTEGER PRIMARY KEY,
    id        BLOB    NOT NULL,
    endpoint  INTEGER,          -- NULL: published by the app
    workspace BLOB,             -- only where there is no endpoint to say it
    type      TEXT,
    source    BLOB,
    headers   BLOB,
    payload   BLOB    NOT NULL
) STRICT;

-- What events owe, beside their event.
CREATE TABLE runs (
    event      INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    trigger    TEXT    NOT NULL,
    retry      TEXT    NOT NULL,
    state      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    PRIMARY KEY (event, id)
) STRICT, WITHOUT ROWID;

-- Deduplication keys within their window. Endpoint 0 stands for the app's own events.
CREATE TABLE dedup (
    endpoint   INTEGER NOT NULL,
    key        BLOB    NOT NULL,
    event      BLOB    NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (endpoint, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX dedup_by_expiry ON dedup (expires_at);

-- The index that skips: a row a segment of 64 blocks, and its bits in slices.
CREATE TABLE segments (
    number   INTEGER PRIMARY KEY,
    last_seq INTEGER NOT NULL,
    min_id   BLOB    NOT NULL,
    max_id   BLOB    NOT NULL,
    blocks   BLOB    NOT NULL
) STRICT;

CREATE TABLE segment_bits (
    slice INTEGER PRIMARY KEY,
    words BLOB    NOT NULL
) STRICT;

-- Deleted endpoints whose history still takes up space.
CREATE TABLE purges (
    endpoint INTEGER PRIMARY KEY,
    id       BLOB    NOT NULL
) STRICT;

CREATE TABLE tokens (
    name       TEXT    PRIMARY KEY,
    digest     BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
