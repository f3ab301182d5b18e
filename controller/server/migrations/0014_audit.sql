-- What was done, and who looked at evidence: entries of a chain, and checkpoints over them. Nothing of it is ever changed or taken away.
CREATE TABLE audit (
    number     INTEGER NOT NULL,
    checkpoint INTEGER NOT NULL, -- 0 for the entry, from 1 on for the checkpoints over it
    at         INTEGER NOT NULL,
    who        TEXT NOT NULL,
    act        TEXT NOT NULL,
    subject    TEXT NOT NULL,
    hash       TEXT NOT NULL,
    line       TEXT NOT NULL, -- as it is verified, byte for byte
    PRIMARY KEY (number, checkpoint)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is not changed');
END;

CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is not shortened');
END;
