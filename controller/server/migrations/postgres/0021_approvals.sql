-- As 0021 of SQLite, which says what it is for.

CREATE TABLE approvals (
    id         TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    method     TEXT COLLATE "C" NOT NULL,
    body       BYTEA NOT NULL,
    subject    TEXT COLLATE "C" NOT NULL,
    asked      TEXT COLLATE "C" NOT NULL,
    reason     TEXT COLLATE "C" NOT NULL,
    rule       TEXT COLLATE "C" NOT NULL,
    who        TEXT COLLATE "C" NOT NULL,
    owner      TEXT COLLATE "C" NOT NULL,
    role       TEXT COLLATE "C" NOT NULL,
    shown      TEXT COLLATE "C" NOT NULL,
    began      BIGINT,
    address    TEXT COLLATE "C" NOT NULL,
    at         BIGINT NOT NULL,
    expires    BIGINT NOT NULL,
    seal       BYTEA NOT NULL,
    state      TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'approved', 'rejected')),
    decided_by TEXT COLLATE "C" NOT NULL,
    decided    BIGINT,
    note       TEXT COLLATE "C" NOT NULL,
    outcome    TEXT COLLATE "C" NOT NULL
);

CREATE INDEX approvals_by_time ON approvals (at);

CREATE TABLE acts_alone (
    owner   TEXT COLLATE "C" NOT NULL,
    kind    TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (owner, kind, subject)
);

ALTER TABLE api_tokens ADD COLUMN owner TEXT COLLATE "C" NOT NULL DEFAULT '';
