-- What became of runs, in the order of the commits: a row a commit, so that what is told costs no
-- more than that. What is told of events is the events, whose places are in that order too. See
-- src/feed.rs.
CREATE TABLE changes (
    number INTEGER PRIMARY KEY,
    seq    INTEGER NOT NULL, -- no event was stored before it that is behind this
    runs   BLOB    NOT NULL  -- of each its place, its attempt and the letter of its state
) STRICT;

-- The greatest place of an event that was deleted. It is never given again, and who has not been
-- told of what is before it hears that something is gone. The epoch is that of the file: places of
-- another one say nothing of this one, also where it was copied from that.
CREATE TABLE forgotten (seq INTEGER NOT NULL, epoch INTEGER NOT NULL) STRICT;

INSERT INTO forgotten VALUES (0, random());

-- Here, and not by who deletes: there are several.
CREATE TRIGGER events_forgotten AFTER DELETE ON events
WHEN OLD.seq > (SELECT seq FROM forgotten)
BEGIN
    UPDATE forgotten SET seq = OLD.seq;
END;
