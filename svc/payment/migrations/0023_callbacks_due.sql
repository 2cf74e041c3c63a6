-- Callbacks that wait are looked for by their provider: without it in the index, SQLite read all that the provider had
-- ever sent.
DROP INDEX payment_callbacks_due;
CREATE INDEX payment_callbacks_due ON payment_callbacks (provider, due_at) WHERE processed_at IS NULL;
