-- The controller's state on PostgreSQL, as 0001 to 0010 of SQLite leave it, which say what each column is for. A test holds the two against
-- each other. Text sorts by its bytes, as it does there: keys sort by time.

CREATE TABLE meta (
    key   TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    value BIGINT NOT NULL
);

CREATE TABLE tenants (
    id   TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    body BYTEA NOT NULL
);

CREATE TABLE nodes (
    name            TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    agent_version   TEXT COLLATE "C" NOT NULL,
    first_seen      BIGINT NOT NULL,
    last_seen       BIGINT NOT NULL,
    tenants_version BIGINT NOT NULL,
    reports_refused BIGINT NOT NULL DEFAULT 0,
    health          BYTEA
);

CREATE TABLE cursors (
    node     TEXT COLLATE "C" NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    epoch    BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    updated  BIGINT NOT NULL,
    PRIMARY KEY (node, epoch)
);

CREATE TABLE violations (
    id        TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    node      TEXT COLLATE "C" NOT NULL,
    tenant    TEXT COLLATE "C" NOT NULL,
    state     TEXT COLLATE "C" NOT NULL CHECK (state IN ('open', 'quiet', 'released')),
    opened    BIGINT NOT NULL,
    last_seen BIGINT NOT NULL,
    closed    BIGINT,
    body      BYTEA NOT NULL,
    rule      TEXT COLLATE "C",
    strike    BIGINT NOT NULL DEFAULT 0,
    counts    BIGINT
);

CREATE INDEX violations_by_tenant ON violations (tenant, id);
CREATE INDEX violations_open ON violations (tenant) WHERE state = 'open';
CREATE INDEX violations_by_last_seen ON violations (last_seen);
CREATE INDEX violations_that_count ON violations (tenant, opened) WHERE counts = 1;

CREATE TABLE evidence (
    violation TEXT COLLATE "C" NOT NULL REFERENCES violations (id) ON DELETE CASCADE,
    raised    BIGINT NOT NULL,
    class     TEXT COLLATE "C" NOT NULL,
    decision  TEXT COLLATE "C",
    body      BYTEA NOT NULL,
    PRIMARY KEY (violation, raised, class)
);

CREATE TABLE decisions (
    id        TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    tenant    TEXT COLLATE "C" NOT NULL,
    violation TEXT COLLATE "C",
    made      BIGINT NOT NULL,
    expires   BIGINT,
    operator  TEXT COLLATE "C",
    released  BIGINT,
    body      BYTEA NOT NULL,
    class     TEXT COLLATE "C"
);

CREATE INDEX decisions_by_violation ON decisions (violation) WHERE violation IS NOT NULL;
CREATE INDEX decisions_in_force ON decisions (tenant) WHERE operator IS NOT NULL AND released IS NULL;
CREATE INDEX decisions_not_over ON decisions (tenant, expires) WHERE operator IS NULL AND released IS NULL;

CREATE TABLE measures (
    node        TEXT COLLATE "C" NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    decision    TEXT COLLATE "C" NOT NULL,
    tenant      TEXT COLLATE "C" NOT NULL,
    since       BIGINT NOT NULL,
    expires     BIGINT,
    lifted      BIGINT,
    lift_reason TEXT COLLATE "C" CHECK (lift_reason IN ('expired', 'released', 'departed', 'absent', 'verified')),
    packets     BIGINT NOT NULL DEFAULT 0,
    bytes       BIGINT NOT NULL DEFAULT 0,
    body        BYTEA NOT NULL,
    PRIMARY KEY (node, decision)
);

CREATE INDEX measures_standing ON measures (tenant) WHERE lifted IS NULL;
CREATE INDEX measures_by_decision ON measures (decision);

CREATE TABLE orders (
    node     TEXT COLLATE "C" NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    id       TEXT COLLATE "C" NOT NULL,
    kind     TEXT COLLATE "C" NOT NULL
        CHECK (kind IN ('impose', 'release', 'paid', 'pause', 'resume', 'lift', 'verify', 'release-brakes')),
    tenant   TEXT COLLATE "C",
    decision TEXT COLLATE "C",
    scope    TEXT COLLATE "C" CHECK (scope IN ('fleet', 'node')),
    created  BIGINT NOT NULL,
    state    TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'done', 'failed', 'superseded')),
    answered BIGINT,
    detail   TEXT COLLATE "C" NOT NULL DEFAULT '',
    body     BYTEA NOT NULL,
    PRIMARY KEY (node, id)
);

CREATE INDEX orders_pending ON orders (node) WHERE state = 'pending';
CREATE INDEX orders_by_id ON orders (id);

CREATE TABLE requests (
    key      TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    meaning  TEXT COLLATE "C" NOT NULL,
    order_id TEXT COLLATE "C" NOT NULL,
    decision TEXT COLLATE "C" NOT NULL,
    created  BIGINT NOT NULL
);

CREATE TABLE pauses (
    node     TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    order_id TEXT COLLATE "C" NOT NULL,
    operator TEXT COLLATE "C" NOT NULL,
    reason   TEXT COLLATE "C" NOT NULL,
    since    BIGINT NOT NULL,
    lift     BIGINT NOT NULL
);

CREATE TABLE node_events (
    id       BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node     TEXT COLLATE "C" NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    at       BIGINT NOT NULL,
    kind     TEXT COLLATE "C" NOT NULL,
    received BIGINT NOT NULL,
    body     BYTEA NOT NULL
);

CREATE UNIQUE INDEX node_events_once ON node_events (node, at, kind);

CREATE TABLE usage (
    node      TEXT COLLATE "C" NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    tenant    TEXT COLLATE "C" NOT NULL,
    month     TEXT COLLATE "C" NOT NULL,
    bytes_in  BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    updated   BIGINT NOT NULL,
    PRIMARY KEY (node, tenant, month)
);

CREATE INDEX usage_by_month ON usage (month, tenant);

CREATE TABLE relay_checks (
    tenant   TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    at       BIGINT NOT NULL,
    received BIGINT NOT NULL,
    body     BYTEA NOT NULL
);

CREATE TABLE notices (
    number    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id        TEXT COLLATE "C" NOT NULL UNIQUE,
    recipient TEXT COLLATE "C" NOT NULL,
    tenant    TEXT COLLATE "C" NOT NULL,
    decision  TEXT COLLATE "C",
    violation TEXT COLLATE "C",
    kind      TEXT COLLATE "C" NOT NULL CHECK (kind IN ('information', 'warning', 'immediate', 'final', 'lifted')),
    made      BIGINT NOT NULL,
    body      BYTEA NOT NULL
);

CREATE INDEX notices_by_tenant ON notices (tenant, number);
CREATE INDEX notices_by_recipient ON notices (recipient, number);
CREATE INDEX notices_by_decision ON notices (decision) WHERE decision IS NOT NULL;
CREATE INDEX notices_by_violation ON notices (violation) WHERE violation IS NOT NULL;

CREATE TABLE policies (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name    TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    body    TEXT COLLATE "C" NOT NULL
);

CREATE INDEX policies_by_name ON policies (name, version);

CREATE TABLE node_policies (
    node   TEXT COLLATE "C" NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    policy BIGINT NOT NULL REFERENCES policies (id),
    told   BIGINT NOT NULL,
    PRIMARY KEY (node, policy)
);

CREATE INDEX node_policies_by_policy ON node_policies (policy);

CREATE TABLE exemption_warnings (
    detail TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    at     BIGINT NOT NULL
);

CREATE INDEX exemption_warnings_by_age ON exemption_warnings (at);

CREATE TABLE controllers (
    id   TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    beat BIGINT NOT NULL
);

CREATE TABLE presence (
    node       TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    controller TEXT COLLATE "C" NOT NULL,
    stream     BIGINT NOT NULL
);

CREATE INDEX presence_by_controller ON presence (controller);

CREATE TABLE changes (
    number     BIGINT PRIMARY KEY NOT NULL,
    controller TEXT COLLATE "C" NOT NULL,
    at         BIGINT NOT NULL,
    body       BYTEA NOT NULL
);

INSERT INTO meta (key, value) VALUES ('commit', 0), ('changes_forgotten', 0);
