-- Since when a node is connected as it is now, and when it last told how it fares, which it does behind all else that it has to tell.
ALTER TABLE presence ADD COLUMN since INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN told INTEGER NOT NULL DEFAULT 0;
