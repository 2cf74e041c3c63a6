ALTER TABLE payments ADD COLUMN ending TEXT NOT NULL DEFAULT '';  -- why we end it at the provider
