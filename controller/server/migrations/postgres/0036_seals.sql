-- A case that is sealed is there for administrators alone.
ALTER TABLE cases ADD COLUMN sealed_by TEXT COLLATE "C";
ALTER TABLE cases ADD COLUMN sealed_reason TEXT COLLATE "C";
ALTER TABLE cases ADD COLUMN sealed_since BIGINT;
CREATE INDEX cases_sealed ON cases (tenant, clause) WHERE sealed_since IS NOT NULL;
