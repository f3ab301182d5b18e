-- As 0023 of SQLite, which says what it is for.

ALTER TABLE requests ADD COLUMN parts TEXT COLLATE "C" NOT NULL DEFAULT '';
