-- In which version of the tenants each was last changed, added or removed, so that what one version changed can be read without all the rest.
-- Of what was changed before this was kept there is nothing: all tenants are read then.
CREATE TABLE tenant_versions (
    id      TEXT PRIMARY KEY NOT NULL, -- of a tenant that may be gone
    version INTEGER NOT NULL
) STRICT;

CREATE INDEX tenant_versions_by_version ON tenant_versions (version);
