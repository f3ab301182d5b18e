-- What programs at servers (CrowdSec's bouncers) are told of what stands: a row for each prefix of a tenant and as long as the same is to be done
-- about it. What changed since one asked last is what lies between two commits.
CREATE TABLE remedies (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    value    TEXT NOT NULL,    -- the prefix
    kind     TEXT NOT NULL CHECK (kind IN ('ban', 'throttle')),
    origin   TEXT NOT NULL,
    scenario TEXT NOT NULL,
    until    INTEGER,          -- when it ends by itself
    decision TEXT NOT NULL,
    began    INTEGER NOT NULL, -- by which commit it began
    ended    INTEGER,          -- and ended
    gone     INTEGER           -- when that was
) STRICT;

CREATE UNIQUE INDEX remedies_in_force ON remedies (value) WHERE ended IS NULL;
CREATE INDEX remedies_by_end ON remedies (ended) WHERE ended IS NOT NULL;

-- Up to which commit each was told, and was when it asked before: an answer that was lost on its way is made up for by the next.
CREATE TABLE bouncers (
    name   TEXT PRIMARY KEY NOT NULL, -- of whoever asks, and from where
    told   INTEGER NOT NULL,
    earlier INTEGER NOT NULL,
    asked  INTEGER NOT NULL           -- when it did last
) STRICT;
