CREATE TRIGGER invoices_stay_updated BEFORE UPDATE ON invoices
BEGIN
    SELECT RAISE(ABORT, 'an invoice never changes');
END;
CREATE TRIGGER invoices_stay_deleted BEFORE DELETE ON invoices
BEGIN
    SELECT RAISE(ABORT, 'an invoice never goes');
END;
