-- The controller's state. Times are nanoseconds since the Unix epoch (UTC). A `body` is the protocol's message of
-- that name (proto/reeve/types/v1, agent/v1), whole; columns beside it are what is searched for.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tenants (
    id   TEXT PRIMARY KEY NOT NULL,
    body BLOB NOT NULL
) STRICT;

CREATE TABLE nodes (
    name            TEXT PRIMARY KEY NOT NULL,
    agent_version   TEXT NOT NULL,
    first_seen      INTEGER NOT NULL,
    last_seen       INTEGER NOT NULL,
    tenants_version INTEGER NOT NULL,
    reports_refused INTEGER NOT NULL DEFAULT 0,
    health          BLOB
) STRICT;

-- How far each life of a node's spool is stored. A report at or below its cursor was stored before.
CREATE TABLE cursors (
    node     TEXT NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    epoch    INTEGER NOT NULL, -- 64 random bits, read as signed
    sequence INTEGER NOT NULL,
    updated  INTEGER NOT NULL,
    PRIMARY KEY (node, epoch)
) STRICT, WITHOUT ROWID;

CREATE TABLE violations (
    id        TEXT PRIMARY KEY NOT NULL, -- sorts by `opened`
    node      TEXT NOT NULL,
    tenant    TEXT NOT NULL,
    state     TEXT NOT NULL CHECK (state IN ('open', 'quiet', 'released')),
    opened    INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    closed    INTEGER,
    body      BLOB NOT NULL
) STRICT;

CREATE INDEX violations_by_tenant ON violations (tenant, id);
CREATE INDEX violations_open ON violations (tenant) WHERE state = 'open';
CREATE INDEX violations_by_last_seen ON violations (last_seen);

CREATE TABLE decisions (
    id        TEXT PRIMARY KEY NOT NULL,
    tenant    TEXT NOT NULL,
    violation TEXT,
    made      INTEGER NOT NULL,
    expires   INTEGER,
    operator  TEXT,    -- who ordered it, if a person did
    released  INTEGER, -- when an operator took back an operator's decision
    body      BLOB NOT NULL
) STRICT;

CREATE INDEX decisions_by_violation ON decisions (violation) WHERE violation IS NOT NULL;
CREATE INDEX decisions_in_force ON decisions (tenant) WHERE operator IS NOT NULL AND released IS NULL;

CREATE TABLE measures (
    node        TEXT NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    decision    TEXT NOT NULL,
    tenant      TEXT NOT NULL,
    since       INTEGER NOT NULL,
    expires     INTEGER,
    lifted      INTEGER,
    lift_reason TEXT CHECK (lift_reason IN ('expired', 'released', 'departed', 'absent')),
    packets     INTEGER NOT NULL DEFAULT 0,
    bytes       INTEGER NOT NULL DEFAULT 0,
    body        BLOB NOT NULL,
    PRIMARY KEY (node, decision)
) STRICT, WITHOUT ROWID;

CREATE INDEX measures_standing ON measures (tenant) WHERE lifted IS NULL;
CREATE INDEX measures_by_decision ON measures (decision);

CREATE TABLE orders (
    node     TEXT NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    id       TEXT NOT NULL, -- sorts by `created`
    kind     TEXT NOT NULL CHECK (kind IN ('impose', 'release')),
    tenant   TEXT NOT NULL,
    decision TEXT,
    created  INTEGER NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('pending', 'done', 'failed', 'superseded')),
    answered INTEGER,
    detail   TEXT NOT NULL DEFAULT '',
    body     BLOB NOT NULL,
    PRIMARY KEY (node, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX orders_pending ON orders (node) WHERE state = 'pending';
CREATE INDEX orders_by_id ON orders (id);

-- What callers' idempotency keys stand for.
CREATE TABLE requests (
    key      TEXT PRIMARY KEY NOT NULL,
    meaning  TEXT NOT NULL,
    order_id TEXT NOT NULL,
    decision TEXT NOT NULL,
    created  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
