-- What is used of each endpoint's quota: in that period of so many seconds, or with NULL in its
-- life.
CREATE TABLE quotas (
    endpoint       INTEGER PRIMARY KEY,
    period_seconds INTEGER,
    period         INTEGER NOT NULL,
    used           INTEGER NOT NULL
) STRICT;

-- What nodes have observed of the senders of an endpoint.
CREATE TABLE observed (
    endpoint INTEGER NOT NULL,
    what     TEXT    NOT NULL,
    count    INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    PRIMARY KEY (endpoint, what)
) STRICT, WITHOUT ROWID;
