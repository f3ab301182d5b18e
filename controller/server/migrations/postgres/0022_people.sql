-- As 0022 of SQLite, which says what it is for.

CREATE TABLE people (
    name          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    role          TEXT COLLATE "C" NOT NULL,
    addresses     TEXT COLLATE "C" NOT NULL,
    created       BIGINT NOT NULL,
    created_by    TEXT COLLATE "C" NOT NULL,
    invited_by    TEXT COLLATE "C" NOT NULL,
    invitation    BYTEA,
    invited_until BIGINT NOT NULL,
    password      BYTEA NOT NULL,
    secret        BYTEA NOT NULL,
    last_step     BIGINT NOT NULL,
    networks      TEXT COLLATE "C" NOT NULL
);

CREATE TABLE recovery_codes (
    person TEXT COLLATE "C" NOT NULL,
    hash   BYTEA NOT NULL,
    PRIMARY KEY (person, hash)
);

CREATE TABLE sessions (
    hash    BYTEA NOT NULL PRIMARY KEY,
    id      TEXT COLLATE "C" NOT NULL,
    person  TEXT COLLATE "C" NOT NULL,
    role    TEXT COLLATE "C" NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    seen    BIGINT NOT NULL,
    address TEXT COLLATE "C" NOT NULL
);

CREATE INDEX sessions_by_person ON sessions (person);
