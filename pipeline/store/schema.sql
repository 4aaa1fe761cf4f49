-- The index of a store. The segment files are the truth, the index says where to look.
--
-- Durable before indexed: a row never claims bytes that are not on disk. Files may hold up to a second more than their
-- row says, after a crash; readers of a segment that was not closed walk its chunks.
--
-- Invariants, verified by `fovea store check`:
--   1. Every segment row has its foreground file, with at least the row's bytes, and its background file where
--      `has_background` is 1; no other file is in segments/.
--   2. A closed segment's files have exactly the row's bytes, end with an index, and hold exactly the row's frames.
--   3. A file's name is the stream id in its header; it stands in its camera's directory.
--   4. Segments of one camera and epoch do not overlap in stream time.
--   5. A detection belongs to a segment of its camera.
-- All times are microseconds: `wall_us` Unix time, `pts_us` stream time, which starts anew with each epoch.

CREATE TABLE IF NOT EXISTS store (
    uuid TEXT NOT NULL,               -- as in the marker file; an index beside another marker is refused
    schema_version INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS cameras (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,          -- as in the configuration; also the name of its directory
    epoch INTEGER NOT NULL DEFAULT 0  -- counts recordings: one from the opening of a sink to its close
) STRICT;

CREATE TABLE IF NOT EXISTS segments (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE CHECK (length(id) = 32),  -- the stream id in hexadecimal, and the files' name
    camera INTEGER NOT NULL REFERENCES cameras (number),
    epoch INTEGER NOT NULL,
    first_wall_us INTEGER NOT NULL,
    last_wall_us INTEGER NOT NULL,    -- of the last frame's begin, as all `last_`
    first_pts_us INTEGER NOT NULL,
    last_pts_us INTEGER NOT NULL CHECK (last_pts_us >= first_pts_us),
    frames INTEGER NOT NULL CHECK (frames > 0),
    bytes_foreground INTEGER NOT NULL CHECK (bytes_foreground > 0),
    bytes_background INTEGER NOT NULL CHECK (bytes_background >= 0),
    -- open: being written. closed: complete. torn: its writer died; true up to the last whole chunk.
    state TEXT NOT NULL CHECK (state IN ('open', 'closed', 'torn')),
    -- 0 once aging has dropped the background; the row is changed first, the file unlinked then.
    has_background INTEGER NOT NULL DEFAULT 1 CHECK (has_background IN (0, 1))
) STRICT;

CREATE INDEX IF NOT EXISTS segments_by_time ON segments (camera, first_wall_us);

CREATE TABLE IF NOT EXISTS detections (
    segment INTEGER NOT NULL REFERENCES segments (number) ON DELETE CASCADE,
    camera INTEGER NOT NULL REFERENCES cameras (number),
    wall_us INTEGER NOT NULL,
    frame INTEGER NOT NULL,           -- the packet's index
    label TEXT NOT NULL,
    score REAL NOT NULL,
    x0 REAL NOT NULL, y0 REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL,  -- source pixels, half-open
    track INTEGER                     -- NULL: not followed by a tracker
) STRICT;

CREATE INDEX IF NOT EXISTS detections_by_time ON detections (camera, wall_us);
CREATE INDEX IF NOT EXISTS detections_by_segment ON detections (segment);
