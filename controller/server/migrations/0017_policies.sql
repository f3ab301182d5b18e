-- Policies that operators uploaded, as they were. (`policies` has those that nodes tell of, written out.)
CREATE TABLE uploaded_policies (
    name        TEXT NOT NULL,
    version     INTEGER NOT NULL,
    source      TEXT NOT NULL,
    uploaded    INTEGER NOT NULL,
    uploaded_by TEXT NOT NULL,
    reason      TEXT NOT NULL,
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;

-- What nodes are to run, act by act; the last holds. Its number is that of the assignment.
CREATE TABLE policy_acts (
    number         INTEGER PRIMARY KEY NOT NULL,
    kind           TEXT NOT NULL CHECK (kind IN ('stage', 'activate', 'rollback')),
    active_name    TEXT, -- absent where nodes run their own
    active_version INTEGER,
    previous       INTEGER, -- the act by which that is active which a rollback goes back to; absent for none
    staged_name    TEXT, -- absent where nothing is staged
    staged_version INTEGER,
    percent        INTEGER, -- of a share
    nodes          TEXT, -- or these, with blanks between
    at             INTEGER NOT NULL,
    author         TEXT NOT NULL,
    reason         TEXT NOT NULL
) STRICT;

-- What nodes told of it when they last connected.
CREATE TABLE node_assignments (
    node        TEXT NOT NULL PRIMARY KEY REFERENCES nodes (name) ON DELETE CASCADE,
    protocol    INTEGER NOT NULL, -- the minor version that the agent speaks
    assignment  INTEGER NOT NULL, -- the last that it decided on; 0 for none
    name        TEXT, -- what it runs; absent of an agent that does not say
    version     INTEGER,
    is_assigned INTEGER NOT NULL, -- 1 if a controller assigned that
    refused     TEXT NOT NULL -- why; empty if it did not refuse
) STRICT, WITHOUT ROWID;
