-- Who had a prefix before its holder changed: what is told of an earlier time finds whose it was then.
CREATE TABLE holders (
    prefix TEXT NOT NULL,
    until  INTEGER NOT NULL, -- when the inventory said otherwise, by our clock
    tenant TEXT,             -- absent: nobody had it
    PRIMARY KEY (prefix, until)
) WITHOUT ROWID;
CREATE INDEX holders_until ON holders (until);
