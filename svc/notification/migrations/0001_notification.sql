-- What domain events told of events and of who holds tickets: a read model, to know whom a message concerns.
CREATE TABLE known_events (
    id         TEXT   NOT NULL PRIMARY KEY,
    revision   BIGINT NOT NULL,
    status     TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    starts_at  TIMESTAMPTZ NOT NULL,
    ends_at    TIMESTAMPTZ NOT NULL,
    timezone   TEXT   NOT NULL,
    place      TEXT   NOT NULL
);

CREATE TABLE holders (
    ticket_id  TEXT NOT NULL PRIMARY KEY,
    event_id   TEXT NOT NULL,
    order_id   TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    given_at   TIMESTAMPTZ NOT NULL,                   -- the latest that is known of its owner
    revoked_at TIMESTAMPTZ
);

CREATE INDEX holders_event ON holders (event_id, user_id);
CREATE INDEX holders_order ON holders (order_id);

-- A message to one person. Its id is derived from cause and person, so one cause tells a person once.
CREATE TABLE messages (
    id         TEXT    NOT NULL PRIMARY KEY,
    user_id    TEXT    NOT NULL,
    kind       TEXT    NOT NULL,
    name       TEXT    NOT NULL,                       -- of the template
    facts      TEXT    NOT NULL,                       -- JSON, what the template is filled with
    title      TEXT    NOT NULL,
    text       TEXT    NOT NULL,
    event_id   TEXT    NOT NULL,
    order_id   TEXT    NOT NULL,
    inbox      BOOLEAN NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    read_at    TIMESTAMPTZ
);

CREATE INDEX messages_inbox ON messages (user_id, created_at, id) WHERE inbox;
CREATE INDEX messages_age ON messages (created_at);

-- What became of a message on a channel; nothing yet, while there is no row. The target is the device of a push message, and empty otherwise.
CREATE TABLE deliveries (
    message_id TEXT NOT NULL,
    channel    TEXT NOT NULL,
    target     TEXT NOT NULL,
    status     TEXT NOT NULL CHECK (status IN ('sent', 'dropped', 'failed')),
    reason     TEXT NOT NULL,
    ended_at   TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (message_id, channel, target)
);

-- A message to everybody who holds a ticket, and how far it got.
CREATE TABLE mailings (
    cause      TEXT   NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL,
    event_id   TEXT   NOT NULL,
    facts      TEXT   NOT NULL,
    since      TIMESTAMPTZ NOT NULL,                   -- tickets revoked from then on still count
    by_user    TEXT   NOT NULL,                        -- of an announcement
    reached    TEXT   NOT NULL,                        -- the last person in order
    recipients BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    done_at    TIMESTAMPTZ
);

CREATE INDEX mailings_open ON mailings (created_at) WHERE done_at IS NULL;
CREATE INDEX mailings_event ON mailings (event_id, created_at, cause);

CREATE TABLE reminders (
    event_id TEXT   NOT NULL,
    hours    BIGINT NOT NULL,                          -- before the start
    due_at   TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (event_id, hours)
);

CREATE INDEX reminders_due ON reminders (due_at);

CREATE TABLE preferences (
    user_id TEXT    NOT NULL,
    kind    TEXT    NOT NULL,
    email   BOOLEAN NOT NULL,
    sms     BOOLEAN NOT NULL,
    push    BOOLEAN NOT NULL,
    inbox   BOOLEAN NOT NULL,
    PRIMARY KEY (user_id, kind)
);

-- Addresses that the other side says do not exist. Only their hash: a new address of the person is another one.
CREATE TABLE bounces (
    user_id TEXT NOT NULL PRIMARY KEY,
    address TEXT NOT NULL,
    reason  TEXT NOT NULL,
    at      TIMESTAMPTZ NOT NULL
);

CREATE TABLE push_subscriptions (
    id         TEXT NOT NULL PRIMARY KEY,
    user_id    TEXT NOT NULL,
    endpoint   TEXT NOT NULL UNIQUE,
    p256dh     TEXT NOT NULL,
    auth       TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE INDEX push_subscriptions_user ON push_subscriptions (user_id);

-- The P-256 key that push services know this system by.
CREATE TABLE push_keys (
    id      BIGINT NOT NULL PRIMARY KEY,
    private TEXT   NOT NULL
);
