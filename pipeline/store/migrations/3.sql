-- From version 2 to 3: segments whose files were moved to another store.

CREATE TABLE places (
    number INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    path TEXT NOT NULL
) STRICT;

ALTER TABLE segments ADD COLUMN place INTEGER REFERENCES places (number);

CREATE INDEX segments_to_drop ON segments (camera, first_wall_us) WHERE has_background = 1;
CREATE INDEX segments_to_thin ON segments (camera, first_wall_us) WHERE thinned = 0;
