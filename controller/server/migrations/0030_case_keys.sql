-- What is asked of cases every minute and every hour, and of one case, goes by keys of its own; when a case was last added to is kept by the hour, and no
-- key of it with every report.
DROP INDEX cases_by_update;
CREATE INDEX cases_waiting ON cases (deadline) WHERE state = 'waiting';
CREATE INDEX cases_open ON cases (updated, id) WHERE state = 'open';
CREATE INDEX cases_going_on ON cases (id) WHERE state <> 'closed';
DROP INDEX violations_by_case;
CREATE INDEX violations_by_case ON violations (case_id, opened, id) WHERE case_id IS NOT NULL;
