-- Whether an unpaid order keeps its seats for longer than others, because it is paid by bank transfer or the like.
ALTER TABLE orders ADD COLUMN extended BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX orders_open ON orders (user_id) WHERE status = 'pending';
