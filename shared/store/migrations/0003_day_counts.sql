-- How much was used of quotas in a day: see the package quota.
CREATE TABLE day_counts (
    key  TEXT        NOT NULL,
    day  TIMESTAMPTZ NOT NULL, -- its beginning, in UTC
    used BIGINT      NOT NULL,
    PRIMARY KEY (key, day)
);
CREATE INDEX day_counts_day ON day_counts (day);
