-- Nodes that may fetch their first certificate, each once.
CREATE TABLE enrolments (
    hash       BLOB NOT NULL PRIMARY KEY, -- SHA-256 of the token
    node       TEXT NOT NULL,
    created    INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires    INTEGER NOT NULL,
    used       INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX enrolments_by_node ON enrolments (node);

-- Whose certificates are not taken any more: those of a line that began at this time or before.
CREATE TABLE revocations (
    subject TEXT NOT NULL PRIMARY KEY, -- node/NAME or person/NAME
    at      INTEGER NOT NULL,
    author  TEXT NOT NULL,
    reason  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
