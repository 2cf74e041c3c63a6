-- How a payment at a counter was made: cash or card. Each is an account of the ledger.
ALTER TABLE payments ADD COLUMN method TEXT NOT NULL DEFAULT '';
