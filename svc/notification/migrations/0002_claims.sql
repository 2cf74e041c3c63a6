-- Which instance is sending a message, so that another one to which the job comes again leaves it alone.
CREATE TABLE claims (
    message_id TEXT   NOT NULL,
    channel    TEXT   NOT NULL,
    target     TEXT   NOT NULL,
    owner      TEXT   NOT NULL,
    until      BIGINT NOT NULL,                        -- milliseconds since 1970, by the clock of the database
    PRIMARY KEY (message_id, channel, target)
);
