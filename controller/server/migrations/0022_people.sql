-- People who log in with a password and a second factor.
CREATE TABLE people (
    name          TEXT NOT NULL PRIMARY KEY,
    role          TEXT NOT NULL,
    addresses     TEXT NOT NULL,    -- prefixes with blanks between; empty for everywhere
    created       INTEGER NOT NULL,
    created_by    TEXT NOT NULL,
    invited_by    TEXT NOT NULL,    -- the person behind whoever invited them last
    invitation    BLOB,             -- SHA-256, while one waits
    invited_until INTEGER NOT NULL,
    password      BLOB NOT NULL,    -- salt and Argon2id's hash; empty before it is set up
    secret        BLOB NOT NULL,    -- of the second factor, encrypted; empty before it is set up
    last_step     INTEGER NOT NULL, -- the last code's: none of that time or before is taken again
    networks      TEXT NOT NULL     -- from which they logged in, the latest first, with blanks between
) STRICT, WITHOUT ROWID;

-- Each is good once.
CREATE TABLE recovery_codes (
    person TEXT NOT NULL,
    hash   BLOB NOT NULL, -- SHA-256 of 80 random bits
    PRIMARY KEY (person, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    hash    BLOB NOT NULL PRIMARY KEY, -- SHA-256 of the token
    id      TEXT NOT NULL,
    person  TEXT NOT NULL,
    role    TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    seen    INTEGER NOT NULL,
    address TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_person ON sessions (person);
