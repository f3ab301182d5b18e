-- Who says that it is mended of what a rule lets go of after a silence: looked at again by itself when that would be long enough.
CREATE TABLE claims (
    case_id TEXT COLLATE "C" PRIMARY KEY NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
    author  TEXT COLLATE "C" NOT NULL, -- to whom the letter was written
    asked   BIGINT NOT NULL,
    seen    BIGINT NOT NULL, -- when it was seen last, as far as was known then
    due     BIGINT           -- absent: it was seen again, and the claim is over
);
CREATE INDEX claims_due ON claims (due) WHERE due IS NOT NULL;

-- When a node last told that the measure had stopped more than before, by our clock.
ALTER TABLE measures ADD COLUMN grown BIGINT;
