-- What is asked of suspensions, and of the violations of one node, goes by keys of its own.
ALTER TABLE measures ADD COLUMN suspends BIGINT NOT NULL DEFAULT 1; -- 0 of what is no suspension; those from before are looked at
CREATE INDEX measures_that_suspend ON measures (tenant, since) WHERE suspends <> 0;
CREATE INDEX violations_by_node ON violations (node, id);
