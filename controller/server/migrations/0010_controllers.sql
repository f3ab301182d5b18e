-- What controllers that share a database know of each other. On SQLite there is only ever one; the tables are the same.

-- Who is at work. A controller counts its beats; one whose count stands still is gone.
CREATE TABLE controllers (
    id   TEXT PRIMARY KEY NOT NULL, -- made anew at each start
    beat INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- By which controller a node is connected, and by which of its streams, counted since it started.
CREATE TABLE presence (
    node       TEXT PRIMARY KEY NOT NULL,
    controller TEXT NOT NULL,
    stream     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX presence_by_controller ON presence (controller);

-- What a commit changed, for the other controllers; the newest are kept.
CREATE TABLE changes (
    number     INTEGER PRIMARY KEY NOT NULL, -- the commit's
    controller TEXT NOT NULL,
    at         INTEGER NOT NULL,
    body       BLOB NOT NULL
) STRICT;

-- The last commit's number, and up to which changes are forgotten.
INSERT INTO meta (key, value) VALUES ('commit', 0), ('changes_forgotten', 0);
