-- What is sent of notices: a row for each place where one goes, and one that is dead where it goes nowhere.
CREATE TABLE deliveries (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    notice   INTEGER NOT NULL REFERENCES notices (number) ON DELETE CASCADE,
    channel  TEXT NOT NULL CHECK (channel IN ('mail', 'webhook', 'file')),
    target   TEXT NOT NULL, -- an address, or a webhook's name; empty where there is none
    state    TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'dead')),
    made     INTEGER NOT NULL,
    due      INTEGER NOT NULL, -- when it is tried next; while it is tried, when it is tried again if nothing is heard of that
    attempts INTEGER NOT NULL,
    tried    INTEGER,
    detail   TEXT NOT NULL -- what came of the last attempt
) STRICT;

CREATE UNIQUE INDEX deliveries_once ON deliveries (notice, channel, target);
CREATE INDEX deliveries_due ON deliveries (due) WHERE state = 'pending';
CREATE INDEX deliveries_in_turn ON deliveries (channel, target, number) WHERE state = 'pending';
CREATE INDEX deliveries_by_state ON deliveries (state, number);
