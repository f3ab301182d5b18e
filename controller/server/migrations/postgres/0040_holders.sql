-- Who had a prefix before its holder changed: what is told of an earlier time finds whose it was then.
CREATE TABLE holders (
    prefix TEXT COLLATE "C" NOT NULL,
    until  BIGINT NOT NULL, -- when the inventory said otherwise, by our clock
    tenant TEXT COLLATE "C", -- absent: nobody had it
    PRIMARY KEY (prefix, until)
);
CREATE INDEX holders_until ON holders (until);
