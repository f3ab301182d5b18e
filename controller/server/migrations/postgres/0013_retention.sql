-- As 0013 of SQLite, which says what it is for.

ALTER TABLE violations ADD COLUMN pruned BIGINT;

CREATE TABLE evidence_holds (
    violation TEXT COLLATE "C" PRIMARY KEY NOT NULL REFERENCES violations (id),
    operator  TEXT COLLATE "C" NOT NULL,
    reason    TEXT COLLATE "C" NOT NULL,
    since     BIGINT NOT NULL
);

CREATE INDEX decisions_by_age ON decisions (made);
CREATE INDEX measures_by_age ON measures (lifted) WHERE lifted IS NOT NULL;
CREATE INDEX orders_by_age ON orders (answered) WHERE answered IS NOT NULL;
CREATE INDEX orders_by_decision ON orders (decision) WHERE decision IS NOT NULL;
CREATE INDEX notices_by_age ON notices (made);
CREATE INDEX node_events_by_age ON node_events (received);
CREATE INDEX requests_by_age ON requests (created);
