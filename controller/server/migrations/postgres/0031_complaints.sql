-- As 0031 of SQLite, which says what it is for.

CREATE TABLE complaints (
    number    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mark      TEXT COLLATE "C" NOT NULL UNIQUE,
    state     TEXT COLLATE "C" NOT NULL CHECK (state IN ('filed', 'unmatched', 'unreadable', 'dismissed')),
    received  BIGINT NOT NULL,
    updated   BIGINT NOT NULL,
    times     BIGINT NOT NULL,
    via       TEXT COLLATE "C" NOT NULL,
    format    TEXT COLLATE "C" NOT NULL,
    kind      TEXT COLLATE "C" NOT NULL,
    source    TEXT COLLATE "C" NOT NULL,
    seen      BIGINT,
    reporter  TEXT COLLATE "C" NOT NULL,
    tenant    TEXT COLLATE "C",
    case_id   TEXT COLLATE "C" REFERENCES cases (id) ON DELETE SET NULL,
    violation TEXT COLLATE "C",
    detail    TEXT COLLATE "C" NOT NULL,
    deadline  BIGINT,
    body      TEXT COLLATE "C" NOT NULL,
    message   BYTEA
);

CREATE INDEX complaints_by_state ON complaints (state, number);
CREATE INDEX complaints_by_tenant ON complaints (tenant, number) WHERE tenant IS NOT NULL;
CREATE INDEX complaints_by_case ON complaints (case_id, number) WHERE case_id IS NOT NULL;
CREATE INDEX complaints_by_update ON complaints (updated);
