-- Files from which the organizer's people make orders.
CREATE TABLE imports (
    id         TEXT        NOT NULL PRIMARY KEY,
    event_id   TEXT        NOT NULL,
    status     TEXT        NOT NULL,
    mail       BOOLEAN     NOT NULL,
    ignored    TEXT        NOT NULL, -- []string as JSON
    reason     TEXT        NOT NULL,
    caller     TEXT        NOT NULL, -- who has started it, as JSON
    created_by TEXT        NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    ended_at   TIMESTAMPTZ,
    due_at     TIMESTAMPTZ NOT NULL  -- while it runs: when an instance goes on with it
);
CREATE INDEX imports_event ON imports (event_id, created_at, id);
CREATE INDEX imports_due ON imports (due_at) WHERE status = 'running';
CREATE INDEX imports_age ON imports (created_at);

-- Their rows. What a row says of a person goes as soon as its order is made.
CREATE TABLE import_rows (
    import_id TEXT   NOT NULL,
    line      BIGINT NOT NULL, -- in the file, counted from 1
    status    TEXT   NOT NULL,
    order_id  TEXT   NOT NULL, -- that is made of it
    data      TEXT   NOT NULL, -- imports.Entry as JSON
    problems  TEXT   NOT NULL, -- []api.ImportProblem as JSON
    PRIMARY KEY (import_id, line)
);
CREATE INDEX import_rows_status ON import_rows (import_id, status, line);
