-- As 0027 of SQLite, which says what it is for.

CREATE TABLE tenant_versions (
    id      TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    version BIGINT NOT NULL
);

CREATE INDEX tenant_versions_by_version ON tenant_versions (version);
