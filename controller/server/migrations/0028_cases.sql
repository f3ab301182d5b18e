-- All that happens with a tenant under one clause, from the first violation until nobody has anything to do about it.
CREATE TABLE cases (
    id          TEXT PRIMARY KEY NOT NULL, -- sorts by `opened`
    tenant      TEXT NOT NULL,
    clause      TEXT NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('open', 'waiting', 'closed')),
    opened      INTEGER NOT NULL,
    updated     INTEGER NOT NULL, -- when something was last added to it
    deadline    INTEGER,          -- until when it waits
    closed      INTEGER,
    held_by     TEXT,             -- who keeps it past its time, with its evidence
    held_reason TEXT,
    held_since  INTEGER
) STRICT, WITHOUT ROWID;

-- While one is not closed it takes in what happens under its clause.
CREATE UNIQUE INDEX cases_not_closed ON cases (tenant, clause) WHERE state <> 'closed';
CREATE INDEX cases_by_tenant ON cases (tenant, id);
CREATE INDEX cases_by_update ON cases (updated, id);
CREATE INDEX cases_by_close ON cases (closed) WHERE closed IS NOT NULL;

-- What people said and did about a case, and what the controller did by itself.
CREATE TABLE case_entries (
    case_id  TEXT NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
    number   INTEGER NOT NULL, -- from 1 on
    at       INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    author   TEXT NOT NULL,    -- empty: the controller
    text     TEXT NOT NULL,
    state    TEXT,             -- of a move
    deadline INTEGER,
    PRIMARY KEY (case_id, number)
) STRICT, WITHOUT ROWID;

-- Absent of those from before there were cases.
ALTER TABLE violations ADD COLUMN case_id TEXT;
CREATE INDEX violations_by_case ON violations (case_id) WHERE case_id IS NOT NULL;
-- Of an operator's that is upon no violation and names a clause.
ALTER TABLE decisions ADD COLUMN case_id TEXT;
CREATE INDEX decisions_by_case ON decisions (case_id) WHERE case_id IS NOT NULL;
