-- What a tenant's mail server said when it was last asked whether it is an open relay.

CREATE TABLE relay_checks (
    tenant   TEXT PRIMARY KEY,
    at       INTEGER NOT NULL,
    received INTEGER NOT NULL, -- by the controller's clock
    body     BLOB NOT NULL
) STRICT, WITHOUT ROWID;
