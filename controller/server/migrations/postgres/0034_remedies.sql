-- As 0034 of SQLite, which says what it is for.

CREATE TABLE remedies (
    number   BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    value    TEXT COLLATE "C" NOT NULL,
    kind     TEXT COLLATE "C" NOT NULL CHECK (kind IN ('ban', 'throttle')),
    origin   TEXT COLLATE "C" NOT NULL,
    scenario TEXT COLLATE "C" NOT NULL,
    until    BIGINT,
    decision TEXT COLLATE "C" NOT NULL,
    began    BIGINT NOT NULL,
    ended    BIGINT,
    gone     BIGINT
);

CREATE UNIQUE INDEX remedies_in_force ON remedies (value) WHERE ended IS NULL;
CREATE INDEX remedies_by_end ON remedies (ended) WHERE ended IS NOT NULL;

CREATE TABLE bouncers (
    name   TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    told   BIGINT NOT NULL,
    earlier BIGINT NOT NULL,
    asked  BIGINT NOT NULL
);
