-- What follows tenants from node to node: their strikes, and the decisions by policy that are in force.

ALTER TABLE violations ADD COLUMN rule TEXT; -- absent for those from before, which follow nobody
ALTER TABLE violations ADD COLUMN strike INTEGER NOT NULL DEFAULT 0; -- which strike it is; 0 for what is only suspected
-- Whether it is held against the tenant: absent until something was decided, 0 for what was only observed or was taken back.
ALTER TABLE violations ADD COLUMN counts INTEGER;

CREATE INDEX violations_that_count ON violations (tenant, opened) WHERE counts = 1;
-- `released` says of a decision by policy too since when it is over before its time.
CREATE INDEX decisions_not_over ON decisions (tenant, expires) WHERE operator IS NULL AND released IS NULL;
