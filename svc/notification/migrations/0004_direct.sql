-- Mails of one event are sent by the instance that planned them, which claims them with the plan. Their jobs are in the
-- stream only when that instance fails to send them, is slow, or dies.
ALTER TABLE claims ADD COLUMN queued BOOLEAN NOT NULL DEFAULT TRUE;

CREATE INDEX claims_direct ON claims (until) WHERE NOT queued;
