-- The audit log. A line is never changed; the oldest are deleted after audit.retention.
CREATE TABLE lines (
    number   BIGINT      NOT NULL PRIMARY KEY,
    id       TEXT        NOT NULL UNIQUE,
    at       TIMESTAMPTZ NOT NULL,
    act      TEXT        NOT NULL,
    object   TEXT        NOT NULL,
    event_id TEXT        NOT NULL,
    user_id  TEXT        NOT NULL,
    data     TEXT        NOT NULL, -- the line as its service wrote it
    hash     TEXT        NOT NULL  -- of the hash of the line before and of data
);
CREATE INDEX lines_event ON lines (event_id, number);
CREATE INDEX lines_user ON lines (user_id, number);
CREATE INDEX lines_object ON lines (object, number);
CREATE INDEX lines_at ON lines (at);

-- The last line, in one row, and the last one that was deleted. Who appends holds it.
CREATE TABLE head (
    id             INTEGER NOT NULL PRIMARY KEY,
    number         BIGINT  NOT NULL,
    hash           TEXT    NOT NULL,
    deleted_number BIGINT  NOT NULL,
    deleted_hash   TEXT    NOT NULL
);
INSERT INTO head (id, number, hash, deleted_number, deleted_hash) VALUES (1, 0, '', 0, '');
