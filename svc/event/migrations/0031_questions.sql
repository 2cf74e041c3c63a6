-- What buyers are asked, as JSON: []api.Question.
ALTER TABLE events ADD COLUMN questions TEXT NOT NULL DEFAULT '[]';
