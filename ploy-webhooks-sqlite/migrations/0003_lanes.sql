-- Runs have lanes, are found by their ids and listed by their states; attempts name their workers.

-- What runs carry out, each text once. Many runs share few of them, and one may be long.
CREATE TABLE triggers (
    number INTEGER PRIMARY KEY,
    text   TEXT    NOT NULL UNIQUE
) STRICT;

-- Those of which a purge is finding out whether any run names them still.
CREATE TABLE marked_triggers (
    number INTEGER PRIMARY KEY
) STRICT;

-- Runs as they come with their events, until they are filed under `runs`: to write here is all
-- that an event pays for what it owes, so nothing of it has an index. It is filed before there is
-- much of it, so it is read whole.
--
-- A run's place is that of its event times 2^20, and its number among those that the event owes.
-- Its lane is the number of its event's endpoint, or the workspace that the app published in.
CREATE TABLE owed (
    place      INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    trigger    INTEGER NOT NULL,
    lane       ANY     NOT NULL,
    created_at INTEGER NOT NULL,
    due_at     INTEGER           -- NULL: at once
) STRICT;

DROP INDEX runs_in_line;
ALTER TABLE runs RENAME TO runs_before;
ALTER TABLE attempts RENAME TO attempts_before;

CREATE TABLE runs (
    place      INTEGER PRIMARY KEY,
    id         BLOB    NOT NULL,
    trigger    INTEGER NOT NULL,
    lane       ANY     NOT NULL,
    state      TEXT    NOT NULL,
    attempt    INTEGER NOT NULL, -- the number of the last one; 0 is none
    created_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL  -- cancelled: the end of the lease that it was under; 0 is none
) STRICT;

CREATE TABLE attempts (
    run        INTEGER NOT NULL, -- its place
    number     INTEGER NOT NULL,
    worker     TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,          -- NULL: under way, or its lease ended without a word
    outcome    TEXT,             -- the state that it left the run in
    after      INTEGER,          -- milliseconds until the next one, if there is to be one
    said       BLOB,             -- the output or the error
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;

INSERT INTO triggers (text) SELECT DISTINCT trigger FROM runs_before;

INSERT INTO runs
SELECT (r.event << 20) + row_number() OVER (PARTITION BY r.event ORDER BY r.id) - 1,
    r.id, t.number, coalesce(e.endpoint, e.workspace), r.state, r.attempt, r.created_at, r.due_at
FROM runs_before AS r
JOIN events AS e ON e.seq = r.event
JOIN triggers AS t ON t.text = r.trigger
ORDER BY r.event, r.id;

INSERT INTO attempts
SELECT r.place, a.number, 'unknown', a.started_at, a.ended_at, a.outcome, a.after, a.said
FROM runs AS r
JOIN attempts_before AS a ON a.event = r.place >> 20 AND a.run = r.id
ORDER BY r.place, a.number;

DROP TABLE attempts_before;
DROP TABLE runs_before;

-- The line, lane by lane, by when runs may be claimed: at the end of a delay or of a lease. Those
-- that are finished are not in it.
CREATE INDEX runs_in_line ON runs (lane, due_at) WHERE state IN ('queued', 'running', 'retrying');

CREATE INDEX runs_by_state ON runs (state, id);

-- What operators define by name.
CREATE TABLE definitions (
    workspace BLOB    NOT NULL,
    kind      TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    revision  INTEGER NOT NULL,
    text      TEXT    NOT NULL,
    PRIMARY KEY (workspace, kind, name)
) STRICT, WITHOUT ROWID;
