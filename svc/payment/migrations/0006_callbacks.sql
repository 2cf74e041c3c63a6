CREATE INDEX payment_callbacks_processed ON payment_callbacks (processed_at) WHERE processed_at IS NOT NULL;
CREATE INDEX sandbox_callbacks_delivered ON sandbox_callbacks (delivered_at) WHERE delivered_at IS NOT NULL;
