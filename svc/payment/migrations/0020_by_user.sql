-- The export of a person reads their payments by id.
CREATE INDEX payments_user ON payments (user_id, id);
