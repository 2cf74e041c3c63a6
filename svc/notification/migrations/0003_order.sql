-- What came first is decided by the order in which the stream has it, and what a ticket was revoked for by the word of
-- ticketing: the clocks of two machines are not compared.
ALTER TABLE holders ADD COLUMN given_seq BIGINT NOT NULL DEFAULT 0;       -- sequence of the latest that is known of its owner
ALTER TABLE holders ADD COLUMN cancelled BOOLEAN NOT NULL DEFAULT FALSE;  -- revoked since its event was cancelled
ALTER TABLE mailings DROP COLUMN since;
