-- What people call an order by: no two of an event have the same. Orders from before get one that follows from how many
-- came before them in base 26, the number of letters, times a number that has no divisor in common with its power.
ALTER TABLE orders ADD COLUMN number TEXT NOT NULL DEFAULT '';
UPDATE orders SET number =
    substr('ACDEFGHJKLMNPQRTUVWXY34679', CAST(n.x / 456976 % 26 + 1 AS INTEGER), 1) ||
    substr('ACDEFGHJKLMNPQRTUVWXY34679', CAST(n.x / 17576 % 26 + 1 AS INTEGER), 1) ||
    substr('ACDEFGHJKLMNPQRTUVWXY34679', CAST(n.x / 676 % 26 + 1 AS INTEGER), 1) ||
    substr('ACDEFGHJKLMNPQRTUVWXY34679', CAST(n.x / 26 % 26 + 1 AS INTEGER), 1) ||
    substr('ACDEFGHJKLMNPQRTUVWXY34679', CAST(n.x % 26 + 1 AS INTEGER), 1)
FROM (SELECT id, row_number() OVER (PARTITION BY event_id ORDER BY id) * 7654321 % 11881376 AS x FROM orders) AS n
WHERE n.id = orders.id;
CREATE UNIQUE INDEX orders_number ON orders (event_id, number) WHERE number <> '';
