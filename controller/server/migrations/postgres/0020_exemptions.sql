-- As 0020 of SQLite, which says what it is for.

CREATE TABLE exemptions (
    id            TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    tenant        TEXT COLLATE "C" NOT NULL,
    body          BYTEA NOT NULL,
    ends          BIGINT,
    reason        TEXT COLLATE "C" NOT NULL,
    granted       BIGINT NOT NULL,
    granted_by    TEXT COLLATE "C" NOT NULL,
    revoked       BIGINT,
    revoked_by    TEXT COLLATE "C" NOT NULL DEFAULT '',
    revoke_reason TEXT COLLATE "C" NOT NULL DEFAULT ''
);

CREATE INDEX exemptions_by_tenant ON exemptions (tenant);
