-- From version 1 to 2: gaps, tracks, pins, what is doomed, what was purged; how long segments are.

ALTER TABLE cameras ADD COLUMN longest_us INTEGER NOT NULL DEFAULT 0;

-- A new table instead of a new column, for the checks on it. A clock that was set back left the latest time before the
-- earliest one.
CREATE TABLE new_segments (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE CHECK (length(id) = 32),
    camera INTEGER NOT NULL REFERENCES cameras (number),
    epoch INTEGER NOT NULL,
    first_wall_us INTEGER NOT NULL,
    last_wall_us INTEGER NOT NULL CHECK (last_wall_us >= first_wall_us),
    first_pts_us INTEGER NOT NULL,
    last_pts_us INTEGER NOT NULL CHECK (last_pts_us >= first_pts_us),
    frames INTEGER NOT NULL CHECK (frames > 0),
    bytes_foreground INTEGER NOT NULL CHECK (bytes_foreground > 0),
    bytes_background INTEGER NOT NULL CHECK (bytes_background >= 0),
    state TEXT NOT NULL CHECK (state IN ('open', 'closed', 'torn')),
    has_background INTEGER NOT NULL DEFAULT 1 CHECK (has_background IN (0, 1)),
    thinned INTEGER NOT NULL DEFAULT 0 CHECK (thinned IN (0, 1))
) STRICT;

INSERT INTO new_segments SELECT number, id, camera, epoch, min(first_wall_us, last_wall_us),
    max(first_wall_us, last_wall_us), first_pts_us, last_pts_us, frames, bytes_foreground, bytes_background, state,
    has_background, 0 FROM segments;
DROP TABLE segments;
ALTER TABLE new_segments RENAME TO segments;
CREATE INDEX segments_by_time ON segments (camera, first_wall_us);

UPDATE cameras SET longest_us = coalesce(
    (SELECT max(last_wall_us - first_wall_us) FROM segments WHERE camera = cameras.number), 0);

CREATE TABLE gaps (
    segment INTEGER NOT NULL REFERENCES segments (number) ON DELETE CASCADE,
    from_us INTEGER NOT NULL,
    to_us INTEGER NOT NULL
) STRICT;
CREATE INDEX gaps_by_segment ON gaps (segment);

CREATE TABLE tracks (
    number INTEGER PRIMARY KEY,
    segment INTEGER NOT NULL REFERENCES segments (number) ON DELETE CASCADE,
    camera INTEGER NOT NULL REFERENCES cameras (number),
    label TEXT NOT NULL,
    track INTEGER,
    first_wall_us INTEGER NOT NULL,
    last_wall_us INTEGER NOT NULL,
    detections INTEGER NOT NULL,
    score REAL NOT NULL,
    best_wall_us INTEGER NOT NULL,
    x0 REAL NOT NULL, y0 REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL
) STRICT;

-- Beside max(), SQLite takes the other columns from the row that has the maximum.
INSERT INTO tracks (segment, camera, label, track, first_wall_us, last_wall_us, detections, score, best_wall_us,
    x0, y0, x1, y1)
    SELECT a.segment, a.camera, a.label, a.track, a.first, a.last, a.count, b.score, b.wall_us, b.x0, b.y0, b.x1, b.y1
    FROM (SELECT segment, camera, label, track, min(wall_us) AS first, max(wall_us) AS last, count(*) AS count
        FROM detections GROUP BY segment, label, track) a
    JOIN (SELECT segment, label, track, max(score) AS score, wall_us, x0, y0, x1, y1
        FROM detections GROUP BY segment, label, track) b
    ON a.segment = b.segment AND a.label = b.label AND a.track IS b.track;
CREATE INDEX tracks_by_class ON tracks (camera, label, first_wall_us, last_wall_us);
CREATE INDEX tracks_by_time ON tracks (camera, first_wall_us, last_wall_us, label);
CREATE INDEX tracks_by_segment ON tracks (segment, label, track);

CREATE TABLE pins (
    number INTEGER PRIMARY KEY,
    camera INTEGER NOT NULL REFERENCES cameras (number),
    from_us INTEGER NOT NULL,
    to_us INTEGER NOT NULL CHECK (to_us > from_us),
    reason TEXT NOT NULL,
    made_us INTEGER NOT NULL
) STRICT;

CREATE TABLE doomed (
    path TEXT PRIMARY KEY,
    keep INTEGER NOT NULL CHECK (keep IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE purges (
    number INTEGER PRIMARY KEY,
    at_us INTEGER NOT NULL,
    camera TEXT NOT NULL,
    action TEXT NOT NULL,
    reason TEXT NOT NULL,
    segments INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    from_us INTEGER NOT NULL,
    to_us INTEGER NOT NULL
) STRICT;
