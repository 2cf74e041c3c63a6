-- The reasons of refunds are texts of people, and are erased after a while.
CREATE INDEX payment_refunds_reason ON payment_refunds (updated_at) WHERE reason <> '';
