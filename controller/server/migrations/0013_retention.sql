-- What is over is forgotten after a time (store/write/retain.rs).

-- Since when a violation that still counts is there without its evidence.
ALTER TABLE violations ADD COLUMN pruned INTEGER;

-- Violations that are kept with all that belongs to them, because a person said so.
CREATE TABLE evidence_holds (
    violation TEXT PRIMARY KEY NOT NULL REFERENCES violations (id),
    operator  TEXT NOT NULL,
    reason    TEXT NOT NULL,
    since     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX decisions_by_age ON decisions (made);
CREATE INDEX measures_by_age ON measures (lifted) WHERE lifted IS NOT NULL;
CREATE INDEX orders_by_age ON orders (answered) WHERE answered IS NOT NULL;
CREATE INDEX orders_by_decision ON orders (decision) WHERE decision IS NOT NULL;
CREATE INDEX notices_by_age ON notices (made);
CREATE INDEX node_events_by_age ON node_events (received);
CREATE INDEX requests_by_age ON requests (created);
