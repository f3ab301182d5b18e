-- As 0011 of SQLite, which says what it is for.

CREATE TABLE api_tokens (
    hash       BYTEA NOT NULL PRIMARY KEY,
    name       TEXT COLLATE "C" NOT NULL,
    role       TEXT COLLATE "C" NOT NULL,
    beginning  TEXT COLLATE "C" NOT NULL,
    created    BIGINT NOT NULL,
    created_by TEXT COLLATE "C" NOT NULL,
    expires    BIGINT NOT NULL,
    revoked    BIGINT,
    addresses  TEXT COLLATE "C" NOT NULL
);

CREATE INDEX api_tokens_by_name ON api_tokens (name);
