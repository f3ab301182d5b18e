-- As 0030 of SQLite, which says what it is for.

DROP INDEX cases_by_update;
CREATE INDEX cases_waiting ON cases (deadline) WHERE state = 'waiting';
CREATE INDEX cases_open ON cases (updated, id) WHERE state = 'open';
CREATE INDEX cases_going_on ON cases (id) WHERE state <> 'closed';
DROP INDEX violations_by_case;
CREATE INDEX violations_by_case ON violations (case_id, opened, id) WHERE case_id IS NOT NULL;
