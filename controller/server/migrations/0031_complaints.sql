-- What people outside complain about: as it came, whose matter it is, and what became of it.
CREATE TABLE complaints (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    mark      TEXT NOT NULL UNIQUE, -- what copies of it have in common
    state     TEXT NOT NULL CHECK (state IN ('filed', 'unmatched', 'unreadable', 'dismissed')),
    received  INTEGER NOT NULL,
    updated   INTEGER NOT NULL,     -- when it came, or a person did something about it, last
    times     INTEGER NOT NULL,     -- how often it came
    via       TEXT NOT NULL,
    format    TEXT NOT NULL,        -- empty, like the kind, of what could not be read
    kind      TEXT NOT NULL,
    source    TEXT NOT NULL,
    seen      INTEGER,
    reporter  TEXT NOT NULL,
    tenant    TEXT,
    case_id   TEXT REFERENCES cases (id) ON DELETE SET NULL,
    violation TEXT,
    detail    TEXT NOT NULL,
    deadline  INTEGER,
    body      TEXT NOT NULL,        -- what was read of it, as JSON
    message   BLOB                  -- of what could not be read: as it came
) STRICT;

CREATE INDEX complaints_by_state ON complaints (state, number);
CREATE INDEX complaints_by_tenant ON complaints (tenant, number) WHERE tenant IS NOT NULL;
CREATE INDEX complaints_by_case ON complaints (case_id, number) WHERE case_id IS NOT NULL;
CREATE INDEX complaints_by_update ON complaints (updated);
