-- What the controllers of this database have in common and nobody else knows. Not what opens anything: credentials are files.
CREATE TABLE secrets (
    name  TEXT NOT NULL PRIMARY KEY, -- pages: seals the tokens of pages
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;
