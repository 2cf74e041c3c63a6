-- A device at a venue says who it is, and not for which event.
CREATE INDEX passes_hash ON passes (hash);
