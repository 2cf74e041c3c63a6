-- Messages are found by the person, also those that are not in the inbox: who deletes an account makes nobody wait while
-- the messages of all are read.
CREATE INDEX messages_user ON messages (user_id, created_at, id);
DROP INDEX messages_inbox;
