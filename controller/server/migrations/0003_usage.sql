-- What tenants sent and received, by node and calendar month (UTC). Sums only grow.

CREATE TABLE usage (
    node      TEXT NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    tenant    TEXT NOT NULL,
    month     TEXT NOT NULL, -- as 2026-01, which sorts
    bytes_in  INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    updated   INTEGER NOT NULL, -- by the controller's clock
    PRIMARY KEY (node, tenant, month)
) STRICT, WITHOUT ROWID;

CREATE INDEX usage_by_month ON usage (month, tenant);
