-- Who holds copies of events under a lease: instances of this service (tier 0), gateways (tier 1). One that is gone gets
-- no further lease, and is deleted when its last one has run out.
CREATE TABLE cache_holders (
    id   TEXT     NOT NULL PRIMARY KEY,
    tier SMALLINT NOT NULL,
    gone BOOLEAN  NOT NULL
);
