-- Ends of exemptions that were told of. Every node that has the tenant tells of them in the same words; the first is kept as an event.
CREATE TABLE exemption_warnings (
    detail TEXT PRIMARY KEY,
    at     INTEGER NOT NULL -- when the first node told
) STRICT, WITHOUT ROWID;

CREATE INDEX exemption_warnings_by_age ON exemption_warnings (at);
