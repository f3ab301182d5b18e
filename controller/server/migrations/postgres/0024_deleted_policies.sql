-- As 0024 of SQLite, which says what it is for.

CREATE TABLE deleted_policies (
    name       TEXT COLLATE "C" NOT NULL,
    version    BIGINT NOT NULL,
    hash       TEXT COLLATE "C" NOT NULL,
    deleted    BIGINT NOT NULL,
    deleted_by TEXT COLLATE "C" NOT NULL,
    reason     TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (name, version)
);
