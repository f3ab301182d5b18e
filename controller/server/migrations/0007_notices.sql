-- Who was told what, the policies that nodes have, and payments.

CREATE TABLE notices (
    number    INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again, so that whoever reads on from one misses nothing
    id        TEXT NOT NULL UNIQUE,              -- the same however often a notice is made
    recipient TEXT NOT NULL,
    tenant    TEXT NOT NULL,
    decision  TEXT, -- absent for a month's traffic
    violation TEXT,
    kind      TEXT NOT NULL CHECK (kind IN ('information', 'warning', 'immediate', 'final', 'lifted')),
    made      INTEGER NOT NULL, -- by the controller's clock
    body      BLOB NOT NULL
) STRICT;

CREATE INDEX notices_by_tenant ON notices (tenant, number);
CREATE INDEX notices_by_recipient ON notices (recipient, number);
CREATE INDEX notices_by_decision ON notices (decision) WHERE decision IS NOT NULL;
CREATE INDEX notices_by_violation ON notices (violation) WHERE violation IS NOT NULL;

-- Policies as nodes tell them, written out. Many nodes have the same.
CREATE TABLE policies (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    name    TEXT NOT NULL,
    version INTEGER NOT NULL,
    body    TEXT NOT NULL
) STRICT;

CREATE INDEX policies_by_name ON policies (name, version);

CREATE TABLE node_policies (
    node   TEXT NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    policy INTEGER NOT NULL REFERENCES policies (id),
    told   INTEGER NOT NULL, -- when it was last told, by the controller's clock
    PRIMARY KEY (node, policy)
) STRICT, WITHOUT ROWID;

CREATE INDEX node_policies_by_policy ON node_policies (policy);

-- The class of abuse behind a decision; absent for those of people and of before.
ALTER TABLE decisions ADD COLUMN class TEXT;

-- SQLite cannot change a column's constraints: the table is made anew. Nothing refers to it.
CREATE TABLE orders_anew (
    node     TEXT NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    id       TEXT NOT NULL, -- sorts by `created`
    kind     TEXT NOT NULL CHECK (kind IN ('impose', 'release', 'paid', 'pause', 'resume', 'lift', 'verify', 'release-brakes')),
    tenant   TEXT, -- of an impose, a release, a payment or a verify
    decision TEXT,
    scope    TEXT CHECK (scope IN ('fleet', 'node')), -- of a pause or a resume
    created  INTEGER NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('pending', 'done', 'failed', 'superseded')),
    answered INTEGER,
    detail   TEXT NOT NULL DEFAULT '',
    body     BLOB NOT NULL,
    PRIMARY KEY (node, id)
) STRICT, WITHOUT ROWID;

INSERT INTO orders_anew (node, id, kind, tenant, decision, scope, created, state, answered, detail, body)
    SELECT node, id, kind, tenant, decision, scope, created, state, answered, detail, body FROM orders;
DROP TABLE orders;
ALTER TABLE orders_anew RENAME TO orders;
CREATE INDEX orders_pending ON orders (node) WHERE state = 'pending';
CREATE INDEX orders_by_id ON orders (id);
