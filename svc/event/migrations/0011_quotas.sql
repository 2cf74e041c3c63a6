-- Numbers of tickets that ticket types share, as JSON: []api.Quota.
ALTER TABLE events ADD COLUMN quotas TEXT NOT NULL DEFAULT '[]';
