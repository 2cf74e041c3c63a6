-- Who may do what for organizers, as the event service told us: beside the copies of offers, which have older teams.
CREATE TABLE organizers (
    id       TEXT   NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    team     TEXT   NOT NULL -- api.OrganizerTeam as JSON
);
