-- As 0029 of SQLite, which says what it is for.

CREATE TABLE deliveries (
    number   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    notice   BIGINT NOT NULL REFERENCES notices (number) ON DELETE CASCADE,
    channel  TEXT COLLATE "C" NOT NULL CHECK (channel IN ('mail', 'webhook', 'file')),
    target   TEXT COLLATE "C" NOT NULL,
    state    TEXT COLLATE "C" NOT NULL CHECK (state IN ('pending', 'sent', 'dead')),
    made     BIGINT NOT NULL,
    due      BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    tried    BIGINT,
    detail   TEXT COLLATE "C" NOT NULL
);

CREATE UNIQUE INDEX deliveries_once ON deliveries (notice, channel, target);
CREATE INDEX deliveries_due ON deliveries (due) WHERE state = 'pending';
CREATE INDEX deliveries_in_turn ON deliveries (channel, target, number) WHERE state = 'pending';
CREATE INDEX deliveries_by_state ON deliveries (state, number);
