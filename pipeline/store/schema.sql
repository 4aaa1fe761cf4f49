-- The index of a store, version 3. The segment files are the truth about footage, the index says where to look; what was
-- seen in it (detections, tracks) and what the user asked to keep (pins) stand in the index alone.
--
-- Durable before indexed: a row never claims bytes that are not on disk. Files may hold up to a second more than their
-- row says, after a crash; readers of a segment that was not closed walk its chunks.
-- Unindexed before gone: a file is doomed in the transaction that takes its row away, and unlinked after it. What upkeep
-- writes is doomed first and saved in the transaction that makes its row; so whatever dies, the next upkeep ends it.
--
-- Invariants, verified by `fovea store check`:
--   1. Every segment row has its foreground file, with at least the row's bytes, and its background file where
--      `has_background` is 1; any other file in segments/ is doomed, or of a camera that is being written.
--   2. A closed segment's files have exactly the row's bytes, end with an index, and hold exactly the row's frames.
--   3. A file's name is the stream id in its header; it stands in its camera's directory.
--   4. Segments of one camera and epoch do not overlap in stream time.
--   5. A detection, a track and a gap belong to a segment of their camera; a segment's tracks count its detections.
-- All times are microseconds: `wall_us` Unix time, `pts_us` stream time, which starts anew with each epoch.
--
-- A change of this file goes with a step in migrations/ and a higher SCHEMA_VERSION; both ways lead to the same tables.

CREATE TABLE store (
    uuid TEXT NOT NULL,               -- as in the marker file; an index beside another marker is refused
    schema_version INTEGER NOT NULL
) STRICT;

CREATE TABLE cameras (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,          -- as in the configuration; also the name of its directory
    epoch INTEGER NOT NULL DEFAULT 0, -- counts recordings: one from the opening of a sink to its close
    longest_us INTEGER NOT NULL DEFAULT 0  -- no segment spans more wall time: how far before a moment to look for it
) STRICT;

CREATE TABLE places (                 -- other stores, which hold the files of segments that were moved there
    number INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    path TEXT NOT NULL                -- absolute, where the store was when a segment was last moved there
) STRICT;

CREATE TABLE segments (
    number INTEGER PRIMARY KEY,       -- stays when a segment is rewritten; its id does not
    id TEXT NOT NULL UNIQUE CHECK (length(id) = 32),  -- the stream id in hexadecimal, and the files' name
    camera INTEGER NOT NULL REFERENCES cameras (number),
    epoch INTEGER NOT NULL,
    first_wall_us INTEGER NOT NULL,   -- of the earliest frame's begin, which is the first unless the clock was set back
    last_wall_us INTEGER NOT NULL CHECK (last_wall_us >= first_wall_us),  -- of the latest frame's begin
    first_pts_us INTEGER NOT NULL,
    last_pts_us INTEGER NOT NULL CHECK (last_pts_us >= first_pts_us),
    frames INTEGER NOT NULL CHECK (frames > 0),
    bytes_foreground INTEGER NOT NULL CHECK (bytes_foreground > 0),
    bytes_background INTEGER NOT NULL CHECK (bytes_background >= 0),  -- also after it is gone: what a forecast asks
    -- open: being written. closed: complete. torn: its writer died; true up to the last whole chunk.
    state TEXT NOT NULL CHECK (state IN ('open', 'closed', 'torn')),
    has_background INTEGER NOT NULL DEFAULT 1 CHECK (has_background IN (0, 1)),  -- 0 once aging has dropped it
    thinned INTEGER NOT NULL DEFAULT 0 CHECK (thinned IN (0, 1)),  -- 1 once aging has lowered its frame rate
    place INTEGER REFERENCES places (number)  -- NULL: its files are here; elsewhere they are that store's to age
) STRICT;

CREATE INDEX segments_by_time ON segments (camera, first_wall_us);
CREATE INDEX segments_to_drop ON segments (camera, first_wall_us) WHERE has_background = 1;  -- what aging looks for
CREATE INDEX segments_to_thin ON segments (camera, first_wall_us) WHERE thinned = 0;

CREATE TABLE gaps (                   -- silence of over two seconds between two frames of a segment
    segment INTEGER NOT NULL REFERENCES segments (number) ON DELETE CASCADE,
    from_us INTEGER NOT NULL,         -- wall time of the frame before
    to_us INTEGER NOT NULL            -- and of the one after
) STRICT;

CREATE INDEX gaps_by_segment ON gaps (segment);

CREATE TABLE detections (
    segment INTEGER NOT NULL REFERENCES segments (number) ON DELETE CASCADE,
    camera INTEGER NOT NULL REFERENCES cameras (number),
    wall_us INTEGER NOT NULL,
    frame INTEGER NOT NULL,           -- the packet's index
    label TEXT NOT NULL,
    score REAL NOT NULL,
    x0 REAL NOT NULL, y0 REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL,  -- source pixels, half-open
    track INTEGER                     -- NULL: not followed by a tracker
) STRICT;

CREATE INDEX detections_by_time ON detections (camera, wall_us);
CREATE INDEX detections_by_segment ON detections (segment);

-- A track's time in one segment; without a tracker, the time in which its class was seen without a break of over five
-- seconds. What a search by class reads: a hundredth of the detections' rows.
CREATE TABLE tracks (
    number INTEGER PRIMARY KEY,
    segment INTEGER NOT NULL REFERENCES segments (number) ON DELETE CASCADE,
    camera INTEGER NOT NULL REFERENCES cameras (number),
    label TEXT NOT NULL,
    track INTEGER,                    -- as in detections
    first_wall_us INTEGER NOT NULL,
    last_wall_us INTEGER NOT NULL,
    detections INTEGER NOT NULL,      -- how many
    score REAL NOT NULL,              -- the best of them; time and box are of that one
    best_wall_us INTEGER NOT NULL,
    x0 REAL NOT NULL, y0 REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL
) STRICT;

CREATE INDEX tracks_by_class ON tracks (camera, label, first_wall_us, last_wall_us);
CREATE INDEX tracks_by_time ON tracks (camera, first_wall_us, last_wall_us, label);
CREATE INDEX tracks_by_segment ON tracks (segment, label, track);

CREATE TABLE pins (                   -- footage that neither ages nor goes: segments that a pin touches
    number INTEGER PRIMARY KEY,
    camera INTEGER NOT NULL REFERENCES cameras (number),
    from_us INTEGER NOT NULL,
    to_us INTEGER NOT NULL CHECK (to_us > from_us),  -- the first moment that is not pinned
    reason TEXT NOT NULL,
    made_us INTEGER NOT NULL
) STRICT;

CREATE TABLE doomed (                 -- files that no row needs: any more, or yet while they are being written
    path TEXT PRIMARY KEY,            -- relative to the store
    keep INTEGER NOT NULL CHECK (keep IN (0, 1))  -- 1: goes to quarantine/, 0: is unlinked
) STRICT, WITHOUT ROWID;

CREATE TABLE purges (                 -- what retention did
    number INTEGER PRIMARY KEY,
    at_us INTEGER NOT NULL,
    camera TEXT NOT NULL,
    action TEXT NOT NULL,
    reason TEXT NOT NULL,
    segments INTEGER NOT NULL,
    bytes INTEGER NOT NULL,           -- that it freed
    from_us INTEGER NOT NULL,         -- of the footage concerned, as to_us
    to_us INTEGER NOT NULL
) STRICT;
