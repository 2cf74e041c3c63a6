-- How much money a person or a key has given back in a day without a fresh proof: many small refunds count as one.
CREATE TABLE refund_days (
    caller   TEXT        NOT NULL,
    day      TIMESTAMPTZ NOT NULL, -- its beginning, UTC
    currency TEXT        NOT NULL,
    amount   BIGINT      NOT NULL,
    PRIMARY KEY (caller, day, currency)
);
CREATE INDEX refund_days_day ON refund_days (day);
