-- Acts that wait for a second person, whole as they were asked for.
CREATE TABLE approvals (
    id         TEXT NOT NULL PRIMARY KEY,
    method     TEXT NOT NULL,
    body       BLOB NOT NULL,    -- the request; empty once it waits no more
    subject    TEXT NOT NULL,
    asked      TEXT NOT NULL,    -- the request as JSON, for people
    reason     TEXT NOT NULL,
    rule       TEXT NOT NULL,    -- why it waits
    who        TEXT NOT NULL,
    owner      TEXT NOT NULL,    -- the person behind that
    role       TEXT NOT NULL,
    shown      TEXT NOT NULL,
    began      INTEGER,          -- of the line of certificates that was shown
    address    TEXT NOT NULL,
    at         INTEGER NOT NULL,
    expires    INTEGER NOT NULL,
    seal       BLOB NOT NULL,    -- over all of the above, by the controller's key
    state      TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'rejected')),
    decided_by TEXT NOT NULL,
    decided    INTEGER,
    note       TEXT NOT NULL,
    outcome    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX approvals_by_time ON approvals (at);

-- What somebody has done alone, within the time that bulk acts are counted over.
CREATE TABLE acts_alone (
    owner   TEXT NOT NULL,
    kind    TEXT NOT NULL,
    subject TEXT NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (owner, kind, subject)
) STRICT, WITHOUT ROWID;

-- The person who made a token, also by another token; empty of those from before.
ALTER TABLE api_tokens ADD COLUMN owner TEXT NOT NULL DEFAULT '';
