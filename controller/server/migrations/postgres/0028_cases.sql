-- As 0028 of SQLite, which says what it is for.

CREATE TABLE cases (
    id          TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    tenant      TEXT COLLATE "C" NOT NULL,
    clause      TEXT COLLATE "C" NOT NULL,
    state       TEXT COLLATE "C" NOT NULL CHECK (state IN ('open', 'waiting', 'closed')),
    opened      BIGINT NOT NULL,
    updated     BIGINT NOT NULL,
    deadline    BIGINT,
    closed      BIGINT,
    held_by     TEXT COLLATE "C",
    held_reason TEXT COLLATE "C",
    held_since  BIGINT
);

CREATE UNIQUE INDEX cases_not_closed ON cases (tenant, clause) WHERE state <> 'closed';
CREATE INDEX cases_by_tenant ON cases (tenant, id);
CREATE INDEX cases_by_update ON cases (updated, id);
CREATE INDEX cases_by_close ON cases (closed) WHERE closed IS NOT NULL;

CREATE TABLE case_entries (
    case_id  TEXT COLLATE "C" NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
    number   BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    kind     TEXT COLLATE "C" NOT NULL,
    author   TEXT COLLATE "C" NOT NULL,
    text     TEXT COLLATE "C" NOT NULL,
    state    TEXT COLLATE "C",
    deadline BIGINT,
    PRIMARY KEY (case_id, number)
);

ALTER TABLE violations ADD COLUMN case_id TEXT COLLATE "C";
CREATE INDEX violations_by_case ON violations (case_id) WHERE case_id IS NOT NULL;
ALTER TABLE decisions ADD COLUMN case_id TEXT COLLATE "C";
CREATE INDEX decisions_by_case ON decisions (case_id) WHERE case_id IS NOT NULL;
