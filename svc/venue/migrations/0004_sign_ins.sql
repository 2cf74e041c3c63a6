-- What a venue may still try out, counted by all instances together.
ALTER TABLE edges ADD COLUMN sign_ins_full BIGINT NOT NULL DEFAULT 0; -- when all are there again, in Unix milliseconds
