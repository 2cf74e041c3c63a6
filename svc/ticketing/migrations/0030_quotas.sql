-- The quotas of an event at the revision at which the stock has its quantities: the pool is made of both again when it
-- is lost.
CREATE TABLE quotas (
    event_id TEXT   NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    shares   TEXT   NOT NULL -- []api.QuotaShare as JSON
);
