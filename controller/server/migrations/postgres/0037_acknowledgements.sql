-- As 0037 of SQLite, which says what it is for.

ALTER TABLE deliveries ALTER COLUMN notice DROP NOT NULL;
ALTER TABLE deliveries ADD COLUMN complaint BIGINT REFERENCES complaints (number) ON DELETE CASCADE;
ALTER TABLE deliveries ADD COLUMN language TEXT COLLATE "C";
ALTER TABLE deliveries ADD CONSTRAINT deliveries_of_one
    CHECK ((notice IS NULL) <> (complaint IS NULL) AND (complaint IS NULL) = (language IS NULL));

CREATE UNIQUE INDEX deliveries_once_acknowledged ON deliveries (complaint) WHERE complaint IS NOT NULL;
CREATE INDEX deliveries_acknowledged ON deliveries (made) WHERE complaint IS NOT NULL;
CREATE INDEX deliveries_by_reporter ON deliveries (lower(target), made) WHERE complaint IS NOT NULL;
