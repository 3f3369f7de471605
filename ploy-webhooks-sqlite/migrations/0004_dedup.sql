-- Deduplication keys: see src/dedup.rs. What the old table holds is carried over at the start, by
-- src/dedup/carry.rs, which then drops it.
DROP INDEX dedup_by_expiry;
ALTER TABLE dedup RENAME TO dedup_before;

-- The newest keys in the order of their commits: a row a commit, under the place of its last event.
CREATE TABLE dedup_log (
    seq  INTEGER PRIMARY KEY,
    keys BLOB    NOT NULL
) STRICT;

-- Older ones, in segments that are never changed. `expiries` says by when each sixteenth of the
-- keys has expired.
CREATE TABLE dedup_segments (
    number        INTEGER PRIMARY KEY,
    keys          INTEGER NOT NULL,
    buckets       INTEGER NOT NULL,
    filter_blocks INTEGER NOT NULL,
    expiries      BLOB    NOT NULL
) STRICT;

-- Their buckets of keys, and their filters. Pages that belong to no segment are those of one that
-- was not finished, or is gone.
CREATE TABLE dedup_pages (
    id    INTEGER PRIMARY KEY, -- segment * 2^32 + bucket, or + 2^31 + the page of the filter
    bytes BLOB    NOT NULL
) STRICT;
