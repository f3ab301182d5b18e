-- What was ordered for each tenant of a request that was about several: orders' keys with spaces between, in the request's order; `-` for a
-- tenant that there was not.
ALTER TABLE requests ADD COLUMN parts TEXT NOT NULL DEFAULT '';
