-- As 0017 of SQLite, which says what it is for.

CREATE TABLE uploaded_policies (
    name        TEXT COLLATE "C" NOT NULL,
    version     BIGINT NOT NULL,
    source      TEXT COLLATE "C" NOT NULL,
    uploaded    BIGINT NOT NULL,
    uploaded_by TEXT COLLATE "C" NOT NULL,
    reason      TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (name, version)
);

CREATE TABLE policy_acts (
    number         BIGINT PRIMARY KEY NOT NULL,
    kind           TEXT COLLATE "C" NOT NULL CHECK (kind IN ('stage', 'activate', 'rollback')),
    active_name    TEXT COLLATE "C",
    active_version BIGINT,
    previous       BIGINT,
    staged_name    TEXT COLLATE "C",
    staged_version BIGINT,
    percent        BIGINT,
    nodes          TEXT COLLATE "C",
    at             BIGINT NOT NULL,
    author         TEXT COLLATE "C" NOT NULL,
    reason         TEXT COLLATE "C" NOT NULL
);

CREATE TABLE node_assignments (
    node        TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES nodes (name) ON DELETE CASCADE,
    protocol    BIGINT NOT NULL,
    assignment  BIGINT NOT NULL,
    name        TEXT COLLATE "C",
    version     BIGINT,
    is_assigned BIGINT NOT NULL,
    refused     TEXT COLLATE "C" NOT NULL
);
