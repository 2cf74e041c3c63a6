-- Who deletes an account, or takes over the order of a guest, makes nobody wait while the tickets of all are read. It
-- costs a ticket about 20 microseconds when it is sold.
CREATE INDEX holders_user ON holders (user_id);
