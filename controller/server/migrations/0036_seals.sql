-- A case that is sealed is there for administrators alone.
ALTER TABLE cases ADD COLUMN sealed_by TEXT;
ALTER TABLE cases ADD COLUMN sealed_reason TEXT;
ALTER TABLE cases ADD COLUMN sealed_since INTEGER;
CREATE INDEX cases_sealed ON cases (tenant, clause) WHERE sealed_since IS NOT NULL;
