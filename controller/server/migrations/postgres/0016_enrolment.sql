-- As 0016 of SQLite, which says what it is for.

CREATE TABLE enrolments (
    hash       BYTEA NOT NULL PRIMARY KEY,
    node       TEXT COLLATE "C" NOT NULL,
    created    BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    expires    BIGINT NOT NULL,
    used       BIGINT
);

CREATE INDEX enrolments_by_node ON enrolments (node);

CREATE TABLE revocations (
    subject TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    at      BIGINT NOT NULL,
    author  TEXT COLLATE "C" NOT NULL,
    reason  TEXT COLLATE "C" NOT NULL
);
