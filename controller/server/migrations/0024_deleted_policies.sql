-- Policies that were deleted: their name and version stand for the same text still.
CREATE TABLE deleted_policies (
    name       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    hash       TEXT NOT NULL, -- SHA-256 of the text, in hexadecimal digits
    deleted    INTEGER NOT NULL,
    deleted_by TEXT NOT NULL,
    reason     TEXT NOT NULL,
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;
