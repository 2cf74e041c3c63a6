-- Events, each with its ticket types as one document: they change together, under one revision.
CREATE TABLE events (
    num           INTEGER     NOT NULL PRIMARY KEY, -- names the row in the full-text index
    id            TEXT        NOT NULL UNIQUE,
    organizer     TEXT        NOT NULL,
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
    latitude      REAL,
    longitude     REAL,
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
    search_text   TEXT        NOT NULL  -- words without case and accents, a blank between each two
);
CREATE INDEX events_browse ON events (status, starts_at, id);
CREATE INDEX events_organizer ON events (organizer, starts_at, id);
CREATE INDEX events_city ON events (city_key, starts_at, id);
CREATE INDEX events_category ON events (category, starts_at, id);
CREATE INDEX events_pending ON events (pending_at) WHERE pending_at IS NOT NULL;

-- The words are cut and folded by the service, alike for both databases.
CREATE VIRTUAL TABLE event_search USING fts5(search_text, content='events', content_rowid='num', tokenize='unicode61 remove_diacritics 0');

CREATE TRIGGER events_search_insert AFTER INSERT ON events BEGIN
    INSERT INTO event_search (rowid, search_text) VALUES (new.num, new.search_text);
END;
CREATE TRIGGER events_search_delete AFTER DELETE ON events BEGIN
    INSERT INTO event_search (event_search, rowid, search_text) VALUES ('delete', old.num, old.search_text);
END;
CREATE TRIGGER events_search_update AFTER UPDATE OF search_text ON events WHEN old.search_text <> new.search_text BEGIN
    INSERT INTO event_search (event_search, rowid, search_text) VALUES ('delete', old.num, old.search_text);
    INSERT INTO event_search (rowid, search_text) VALUES (new.num, new.search_text);
END;

CREATE TABLE team (
    event_id TEXT NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    user_id  TEXT NOT NULL,
    role     TEXT NOT NULL CHECK (role IN ('manager', 'door')),
    PRIMARY KEY (event_id, user_id)
);
CREATE INDEX team_user ON team (user_id);
