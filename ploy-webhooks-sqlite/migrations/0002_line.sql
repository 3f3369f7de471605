-- Runs are carried out. The number of a run's last attempt fences off those before it; 0 is none.
ALTER TABLE runs ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;

-- The line: runs by when they may be claimed, at the end of a delay or of a lease. Those that are
-- finished are not in it, so it stays short however many there are.
CREATE INDEX runs_in_line ON runs (due_at) WHERE state IN ('queued', 'running', 'retrying');

-- What was tried. Where an attempt has no end, it is under way, or its lease ended without a word.
CREATE TABLE attempts (
    event      INTEGER NOT NULL,
    run        BLOB    NOT NULL,
    number     INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    outcome    TEXT,             -- the state that it left the run in
    after      INTEGER,          -- milliseconds until the next one, if there is to be one
    said       BLOB,             -- the output or the error
    PRIMARY KEY (event, run, number)
) STRICT, WITHOUT ROWID;
