-- Events, each with its ticket types as one document: they change together, under one revision.
CREATE TABLE events (
    id            TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    organizer     TEXT COLLATE "C" NOT NULL,
    status        TEXT        NOT NULL CHECK (status IN ('draft', 'published', 'cancelled')),
    name          TEXT        NOT NULL,
    description   TEXT        NOT NULL,
    category      TEXT        NOT NULL,
    starts_at     TIMESTAMPTZ NOT NULL,
    ends_at       TIMESTAMPTZ NOT NULL CHECK (ends_at > starts_at),
    timezone      TEXT        NOT NULL,
    place         TEXT        NOT NULL,
    address       TEXT        NOT NULL,
    city          TEXT        NOT NULL,
    city_key      TEXT        NOT NULL, -- the city without case and accents
    country       TEXT        NOT NULL,
    latitude      DOUBLE PRECISION,
    longitude     DOUBLE PRECISION,
    capacity      BIGINT      NOT NULL,
    auto_capacity BOOLEAN     NOT NULL, -- the capacity follows the ticket types
    ticket_types  TEXT        NOT NULL,
    payment_providers TEXT    NOT NULL, -- that buyers may choose from, as JSON
    cancel_reason TEXT        NOT NULL,
    revision      BIGINT      NOT NULL,
    created_at    TIMESTAMPTZ NOT NULL,
    updated_at    TIMESTAMPTZ NOT NULL,
    pending       TEXT        NOT NULL DEFAULT '', -- a change that ticketing is being asked about, or ''
    pending_at    TIMESTAMPTZ,
    search_text   TEXT        NOT NULL, -- words without case and accents, a blank between each two
    -- The words are cut by the service, alike for both databases; the parser of to_tsvector would take "AC/DC" for a
    -- file name.
    search        TSVECTOR GENERATED ALWAYS AS (array_to_tsvector(string_to_array(search_text, ' '))) STORED
);
CREATE INDEX events_browse ON events (status, starts_at, id);
CREATE INDEX events_organizer ON events (organizer, starts_at, id);
CREATE INDEX events_city ON events (city_key, starts_at, id);
CREATE INDEX events_category ON events (category, starts_at, id);
CREATE INDEX events_pending ON events (pending_at) WHERE pending_at IS NOT NULL;
CREATE INDEX events_search ON events USING GIN (search);

CREATE TABLE team (
    event_id TEXT COLLATE "C" NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    user_id  TEXT COLLATE "C" NOT NULL,
    role     TEXT NOT NULL CHECK (role IN ('manager', 'door')),
    PRIMARY KEY (event_id, user_id)
);
CREATE INDEX team_user ON team (user_id);
