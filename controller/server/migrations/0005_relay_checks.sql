-- What a tenant's mail server said when it was last asked whether it is an open relay.

CREATE TABLE relay_checks (
    tenant   TEXT PRIMARY KEY,
    at       INTEGER NOT NULL,
    received INTEGER NOT NULL, -- by the controller's clock
    body     BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Measures that a check has ended. SQLite cannot change a column's constraints: the tables are made anew. Nothing refers to them.
CREATE TABLE measures_anew (
    node        TEXT NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    decision    TEXT NOT NULL,
    tenant      TEXT NOT NULL,
    since       INTEGER NOT NULL,
    expires     INTEGER,
    lifted      INTEGER,
    lift_reason TEXT CHECK (lift_reason IN ('expired', 'released', 'departed', 'absent', 'verified')),
    packets     INTEGER NOT NULL DEFAULT 0,
    bytes       INTEGER NOT NULL DEFAULT 0,
    body        BLOB NOT NULL,
    PRIMARY KEY (node, decision)
) STRICT, WITHOUT ROWID;

INSERT INTO measures_anew (node, decision, tenant, since, expires, lifted, lift_reason, packets, bytes, body)
    SELECT node, decision, tenant, since, expires, lifted, lift_reason, packets, bytes, body FROM measures;
DROP TABLE measures;
ALTER TABLE measures_anew RENAME TO measures;
CREATE INDEX measures_standing ON measures (tenant) WHERE lifted IS NULL;
CREATE INDEX measures_by_decision ON measures (decision);

-- Orders that mail servers are asked.
CREATE TABLE orders_anew (
    node     TEXT NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    id       TEXT NOT NULL, -- sorts by `created`
    kind     TEXT NOT NULL CHECK (kind IN ('impose', 'release', 'pause', 'resume', 'lift', 'verify')),
    tenant   TEXT, -- of an impose, a release or a verify
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
