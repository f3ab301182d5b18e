-- Strikes are taken back by an order of their own.

-- SQLite cannot change a column's constraints: the table is made anew. Nothing refers to it.
CREATE TABLE orders_anew (
    node     TEXT NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    id       TEXT NOT NULL, -- sorts by `created`
    kind     TEXT NOT NULL CHECK (kind IN ('impose', 'release', 'paid', 'pause', 'resume', 'lift', 'verify', 'release-brakes', 'forgive')),
    tenant   TEXT, -- of an impose, a release, a payment, a verify or strikes taken back
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
CREATE INDEX orders_by_age ON orders (answered) WHERE answered IS NOT NULL;
CREATE INDEX orders_by_decision ON orders (decision) WHERE decision IS NOT NULL;
