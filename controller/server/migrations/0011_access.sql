-- Who may call beside those with certificates: tokens of programs. What is shown is 256 random bits; kept is their hash alone.
CREATE TABLE api_tokens (
    hash       BLOB NOT NULL PRIMARY KEY, -- SHA-256
    name       TEXT NOT NULL,
    role       TEXT NOT NULL,
    beginning  TEXT NOT NULL, -- the first characters, by which one that leaked is told
    created    INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires    INTEGER NOT NULL,
    revoked    INTEGER,
    addresses  TEXT NOT NULL -- prefixes with blanks between; empty for everywhere
) STRICT, WITHOUT ROWID;

CREATE INDEX api_tokens_by_name ON api_tokens (name);
