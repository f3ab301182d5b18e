-- As 0014 of SQLite, which says what it is for.

CREATE TABLE audit (
    number     BIGINT NOT NULL,
    checkpoint BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    who        TEXT COLLATE "C" NOT NULL,
    act        TEXT COLLATE "C" NOT NULL,
    subject    TEXT COLLATE "C" NOT NULL,
    hash       TEXT COLLATE "C" NOT NULL,
    line       TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (number, checkpoint)
);

CREATE FUNCTION audit_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        RAISE EXCEPTION 'the audit log is not changed';
    END IF;
    RAISE EXCEPTION 'the audit log is not shortened';
END
$$;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_is_kept();

CREATE TRIGGER audit_is_not_shortened BEFORE DELETE OR TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_is_kept();
