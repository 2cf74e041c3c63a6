-- Places with doors.
CREATE TABLE venues (
    id         TEXT        NOT NULL PRIMARY KEY,
    owner      TEXT        NOT NULL,
    name       TEXT        NOT NULL,
    address    TEXT        NOT NULL,
    timezone   TEXT        NOT NULL,
    gates      TEXT        NOT NULL, -- names, as JSON
    revision   BIGINT      NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX venues_newest ON venues (created_at, id);
CREATE INDEX venues_owner ON venues (owner, created_at, id);
