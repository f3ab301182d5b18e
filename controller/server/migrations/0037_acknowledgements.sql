-- What is sent is a notice or an acknowledgement: of those the complaint is named, and with it the address is forgotten.
CREATE TABLE deliveries_new (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    notice    INTEGER REFERENCES notices (number) ON DELETE CASCADE,
    complaint INTEGER REFERENCES complaints (number) ON DELETE CASCADE,
    language  TEXT, -- of an acknowledgement
    channel   TEXT NOT NULL CHECK (channel IN ('mail', 'webhook', 'file')),
    target    TEXT NOT NULL, -- an address, or a webhook's name; empty where there is none
    state     TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'dead')),
    made      INTEGER NOT NULL,
    due       INTEGER NOT NULL, -- when it is tried next; while it is tried, when it is tried again if nothing is heard of that
    attempts  INTEGER NOT NULL,
    tried     INTEGER,
    detail    TEXT NOT NULL, -- what came of the last attempt
    CONSTRAINT deliveries_of_one CHECK ((notice IS NULL) <> (complaint IS NULL) AND (complaint IS NULL) = (language IS NULL))
) STRICT;

INSERT INTO deliveries_new (number, notice, channel, target, state, made, due, attempts, tried, detail)
SELECT number, notice, channel, target, state, made, due, attempts, tried, detail FROM deliveries;

-- No number is used again, also of what is forgotten.
DELETE FROM sqlite_sequence WHERE name = 'deliveries_new';
INSERT INTO sqlite_sequence (name, seq) SELECT 'deliveries_new', seq FROM sqlite_sequence WHERE name = 'deliveries';
DROP TABLE deliveries;
ALTER TABLE deliveries_new RENAME TO deliveries;

CREATE UNIQUE INDEX deliveries_once ON deliveries (notice, channel, target);
CREATE INDEX deliveries_due ON deliveries (due) WHERE state = 'pending';
CREATE INDEX deliveries_in_turn ON deliveries (channel, target, number) WHERE state = 'pending';
CREATE INDEX deliveries_by_state ON deliveries (state, number);
CREATE UNIQUE INDEX deliveries_once_acknowledged ON deliveries (complaint) WHERE complaint IS NOT NULL;
CREATE INDEX deliveries_acknowledged ON deliveries (made) WHERE complaint IS NOT NULL;
CREATE INDEX deliveries_by_reporter ON deliveries (lower(target), made) WHERE complaint IS NOT NULL;
