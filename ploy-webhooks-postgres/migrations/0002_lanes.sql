-- Lanes and workers: what is written of a run, made anew.

ALTER TABLE attempts RENAME TO earlier_attempts;
ALTER TABLE runs RENAME TO earlier_runs;
ALTER TABLE earlier_attempts RENAME CONSTRAINT attempts_pkey TO earlier_attempts_pkey;
ALTER TABLE earlier_runs RENAME CONSTRAINT runs_pkey TO earlier_runs_pkey;
DROP INDEX runs_of_event, runs_due;

CREATE SEQUENCE run_numbers;

-- What events owe, for good: a row is written once and never changed, so that the many that are
-- done are no more than two entries in indexes to which all add at their ends. How a run stands is
-- said by open_runs; where that says nothing, it has succeeded.
CREATE TABLE runs (
    number     bigint      NOT NULL, -- half of an id: what attempts name it by
    workspace  uuid        NOT NULL,
    id         uuid        NOT NULL,
    stream     int         NOT NULL, -- of its event
    event      uuid        NOT NULL,
    endpoint   bigint,               -- NULL: its event was published by the app
    trigger    text        NOT NULL,
    created_at timestamptz NOT NULL
);

-- The runs that have not succeeded. The lane is the id of the endpoint, or of the workspace for
-- what the app has published. due_at is when a run may be claimed: for one under way the end of
-- its lease; NULL: not at all. The attempt that is under way is a part of the row, and goes to
-- attempts when it is over: so a claim writes one row, and so does the end of what it claimed.
CREATE TABLE open_runs (
    number     bigint      NOT NULL,
    due_at     timestamptz,
    started_at timestamptz,          -- of the last attempt
    held_until timestamptz,          -- the end of the lease under which it was last cancelled
    endpoint   bigint,
    lane       uuid        NOT NULL,
    workspace  uuid        NOT NULL,
    run        uuid        NOT NULL,
    attempt    int         NOT NULL, -- how many there were
    state      text        COLLATE "C" NOT NULL,
    worker     text                  -- of the last attempt
)
-- It is as long as the line, and all of it changes: what is dead goes before there is much of it.
WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_threshold = 10000);

-- What a batch of events owes, as it came: a row a batch. Whoever looks for runs enters it first, and
-- the node that stored it does so right behind it (enter_runs). So an append pays for one row, and
-- not for two a run and all their indexes.
CREATE TABLE owed (
    sheet            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owed_at          timestamptz NOT NULL,
    stream           int         NOT NULL,
    numbers          bigint[],             -- of the endpoints; NULL where the fence does not hold
    endpoints        uuid[],
    workspaces       uuid[],
    ids              uuid[]      NOT NULL, -- of the events
    fences           smallint[],
    event_workspaces uuid[],
    repeats          int[]       NOT NULL,
    owing            int[]       NOT NULL,
    run_ids          uuid[]      NOT NULL,
    triggers         text[]      NOT NULL,
    delays_ms        bigint[]    NOT NULL
)
WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_cost_delay = 0, toast.autovacuum_vacuum_scale_factor = 0,
    toast.autovacuum_vacuum_threshold = 20000, toast.autovacuum_vacuum_cost_delay = 0);

-- It is there for milliseconds: compression costs more than it saves.
ALTER TABLE owed ALTER numbers SET STORAGE EXTERNAL, ALTER endpoints SET STORAGE EXTERNAL,
    ALTER workspaces SET STORAGE EXTERNAL, ALTER ids SET STORAGE EXTERNAL,
    ALTER fences SET STORAGE EXTERNAL, ALTER event_workspaces SET STORAGE EXTERNAL,
    ALTER repeats SET STORAGE EXTERNAL, ALTER owing SET STORAGE EXTERNAL,
    ALTER run_ids SET STORAGE EXTERNAL, ALTER triggers SET STORAGE EXTERNAL,
    ALTER delays_ms SET STORAGE EXTERNAL;

-- Attempts that are over. Without a reference to the run, whose check would lock its row each time.
CREATE TABLE attempts (
    run        bigint      NOT NULL,
    number     int         NOT NULL,
    started_at timestamptz NOT NULL,
    worker     text        NOT NULL,
    ended_at   timestamptz,          -- NULL: nobody knows, since nothing was heard of it
    state      text,                 -- of the run after it
    said       bytea,                -- its output, or what went wrong
    again_after_ms bigint
);

-- What is left of deleted endpoints is out of reach already, and is not carried over.
WITH carried AS (
    SELECT nextval('run_numbers') AS number, coalesce(n.workspace, e.workspace) AS workspace,
        coalesce(n.id, e.workspace) AS lane, r.*
    FROM earlier_runs r
    JOIN events e ON e.stream = r.stream AND e.id = r.event
    LEFT JOIN endpoints n ON n.number = r.endpoint
    WHERE r.endpoint IS NULL OR n.number IS NOT NULL
), kept AS (
    INSERT INTO runs (number, workspace, id, stream, event, endpoint, trigger, created_at)
    SELECT number, workspace, id, stream, event, endpoint, trigger, created_at FROM carried
), opened AS (
    INSERT INTO open_runs (number, due_at, started_at, endpoint, lane, workspace, run, attempt,
        state, worker)
    SELECT c.number, c.due_at, a.started_at, c.endpoint, c.lane, c.workspace, c.id, c.attempt,
        c.state, CASE WHEN a.run IS NOT NULL THEN 'unknown' END
    FROM carried c LEFT JOIN earlier_attempts a ON a.run = c.id AND a.number = c.attempt
    WHERE c.state <> 'succeeded'
)
INSERT INTO attempts (run, number, started_at, worker, ended_at, state, said, again_after_ms)
SELECT c.number, a.number, a.started_at, 'unknown', a.ended_at, a.state, a.said, a.again_after_ms
FROM carried c JOIN earlier_attempts a ON a.run = c.id
WHERE a.number < c.attempt OR c.state <> 'running';

DROP TABLE earlier_attempts, earlier_runs;

ALTER TABLE runs ADD PRIMARY KEY (workspace, id);
CREATE INDEX runs_of_event ON runs (event);
ALTER TABLE attempts ADD PRIMARY KEY (run, number);
ALTER TABLE open_runs ADD PRIMARY KEY (workspace, run);
-- The line: lane by lane, so that a claim goes from one to the next without a look at what waits.
CREATE INDEX open_runs_in_line ON open_runs (lane, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX open_runs_by_state ON open_runs (workspace, state, run);
-- For those who have a lease. A new run is in it only once it is claimed.
CREATE INDEX open_runs_under_way ON open_runs (number) WHERE state = 'running';

ANALYZE runs, open_runs, attempts;
