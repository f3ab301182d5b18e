-- What a violation rests on: the alert that opened it, and the one behind each decision. The latest is in the violation itself, and so is all that
-- is known of violations from before; it is put here when one of them goes on.

CREATE TABLE evidence (
    violation TEXT NOT NULL REFERENCES violations (id) ON DELETE CASCADE,
    raised    INTEGER NOT NULL,
    class     TEXT NOT NULL,
    decision  TEXT, -- absent for what opened the violation, where nothing was decided upon it
    body      BLOB NOT NULL,
    PRIMARY KEY (violation, raised, class)
) STRICT, WITHOUT ROWID;
