-- Who sells. The own organizer of a person has the person's id with another prefix.
CREATE TABLE organizers (
    id            TEXT        NOT NULL PRIMARY KEY,
    slug          TEXT        NOT NULL UNIQUE,
    name          TEXT        NOT NULL, -- empty: the person's name, not asked for yet
    legal_name    TEXT        NOT NULL DEFAULT '',
    address       TEXT        NOT NULL DEFAULT '',
    country       TEXT        NOT NULL DEFAULT '',
    tax_id        TEXT        NOT NULL DEFAULT '',
    email         TEXT        NOT NULL DEFAULT '',
    phone         TEXT        NOT NULL DEFAULT '',
    website       TEXT        NOT NULL DEFAULT '',
    currency      TEXT        NOT NULL DEFAULT '',
    language      TEXT        NOT NULL DEFAULT '',
    timezone      TEXT        NOT NULL DEFAULT '',
    revision      BIGINT      NOT NULL,
    team_revision BIGINT      NOT NULL, -- of members and roles
    created_at    TIMESTAMPTZ NOT NULL,
    updated_at    TIMESTAMPTZ NOT NULL
);
CREATE INDEX organizers_nameless ON organizers (id) WHERE name = '';

-- Who works for all events of an organizer.
CREATE TABLE organizer_members (
    organizer_id TEXT NOT NULL REFERENCES organizers (id) ON DELETE CASCADE,
    user_id      TEXT NOT NULL,
    role         TEXT NOT NULL,
    PRIMARY KEY (organizer_id, user_id)
);
CREATE INDEX organizer_members_user ON organizer_members (user_id, organizer_id);

-- Roles of an organizer's own.
CREATE TABLE organizer_roles (
    organizer_id TEXT NOT NULL REFERENCES organizers (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    permissions  TEXT NOT NULL, -- with blanks between
    PRIMARY KEY (organizer_id, name)
);

-- An event belonged to a person, who becomes an organizer.
ALTER TABLE events RENAME COLUMN organizer TO organizer_id;
INSERT INTO organizers (id, slug, name, revision, team_revision, created_at, updated_at)
    SELECT 'org_' || substr(organizer_id, 5), substr(organizer_id, 5), '', 1, 1, min(created_at), min(created_at)
    FROM events GROUP BY organizer_id;
INSERT INTO organizer_members (organizer_id, user_id, role)
    SELECT DISTINCT 'org_' || substr(organizer_id, 5), organizer_id, 'owner' FROM events;
UPDATE events SET organizer_id = 'org_' || substr(organizer_id, 5);

-- A team may have the roles that its organizer has.
CREATE TABLE team_of_event (
    event_id TEXT NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    user_id  TEXT NOT NULL,
    role     TEXT NOT NULL,
    PRIMARY KEY (event_id, user_id)
);
INSERT INTO team_of_event (event_id, user_id, role) SELECT event_id, user_id, role FROM team;
DROP TABLE team;
ALTER TABLE team_of_event RENAME TO team;
CREATE INDEX team_user ON team (user_id);

-- People who were asked to become members by an address that no account has confirmed yet. An invitation that took
-- effect is gone from here.
CREATE TABLE organizer_invitations (
    organizer_id TEXT NOT NULL REFERENCES organizers (id) ON DELETE CASCADE,
    email        TEXT NOT NULL, -- in lower case
    role         TEXT NOT NULL,
    PRIMARY KEY (organizer_id, email)
);
CREATE INDEX organizer_invitations_email ON organizer_invitations (email);
