-- What operators allowed tenants though a clause forbids it. It stands beside what is in the tenants' own entries, which imports replace.
CREATE TABLE exemptions (
    id            TEXT NOT NULL PRIMARY KEY, -- sorts by `granted`
    tenant        TEXT NOT NULL,
    body          BLOB NOT NULL,    -- the protocol's message `Exemption`, whole
    ends          INTEGER,          -- absent where it holds until it is taken back
    reason        TEXT NOT NULL,
    granted       INTEGER NOT NULL,
    granted_by    TEXT NOT NULL,
    revoked       INTEGER,          -- absent where it was not taken back
    revoked_by    TEXT NOT NULL DEFAULT '',
    revoke_reason TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

CREATE INDEX exemptions_by_tenant ON exemptions (tenant);
