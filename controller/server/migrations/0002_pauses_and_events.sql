-- Pauses, what happens on nodes, and orders that are about a whole node.

-- SQLite cannot change a column's constraints: the table is made anew. Nothing refers to it.
CREATE TABLE orders_anew (
    node     TEXT NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    id       TEXT NOT NULL, -- sorts by `created`
    kind     TEXT NOT NULL CHECK (kind IN ('impose', 'release', 'pause', 'resume', 'lift')),
    tenant   TEXT, -- of an impose or a release
    decision TEXT,
    scope    TEXT CHECK (scope IN ('fleet', 'node')), -- of a pause or a resume
    created  INTEGER NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('pending', 'done', 'failed', 'superseded')),
    answered INTEGER,
    detail   TEXT NOT NULL DEFAULT '',
    body     BLOB NOT NULL,
    PRIMARY KEY (node, id)
) STRICT, WITHOUT ROWID;

INSERT INTO orders_anew (node, id, kind, tenant, decision, created, state, answered, detail, body)
    SELECT node, id, kind, tenant, decision, created, state, answered, detail, body FROM orders;
DROP TABLE orders;
ALTER TABLE orders_anew RENAME TO orders;
CREATE INDEX orders_pending ON orders (node) WHERE state = 'pending';
CREATE INDEX orders_by_id ON orders (id);

-- What is paused now: the whole fleet (an empty `node`), or one node.
CREATE TABLE pauses (
    node     TEXT PRIMARY KEY NOT NULL,
    order_id TEXT NOT NULL,
    operator TEXT NOT NULL,
    reason   TEXT NOT NULL,
    since    INTEGER NOT NULL,
    lift     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What happened on nodes; the newest of each are kept.
CREATE TABLE node_events (
    id       INTEGER PRIMARY KEY NOT NULL,
    node     TEXT NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    at       INTEGER NOT NULL, -- by the node's clock
    kind     TEXT NOT NULL,
    received INTEGER NOT NULL,
    body     BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX node_events_once ON node_events (node, at, kind);
