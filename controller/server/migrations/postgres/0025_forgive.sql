-- As 0025 of SQLite, which says what it is for.

ALTER TABLE orders DROP CONSTRAINT orders_kind_check;
ALTER TABLE orders ADD CONSTRAINT orders_kind_check CHECK (kind IN (
    'impose', 'release', 'paid', 'pause', 'resume', 'lift', 'verify', 'release-brakes', 'forgive'
));
