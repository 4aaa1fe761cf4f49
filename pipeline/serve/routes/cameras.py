"""Cameras, their timelines, and the search in what was seen. From the index alone, but for a header a segment."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from pipeline.config import CAMERA_ID
from pipeline.serve.layers import bytes_by_time
from pipeline.serve.routes.asked import US, Camera, From, Here, To, Who, allow, span_us
from pipeline.serve.search import Found, SearchQuery, parse_zone, search
from pipeline.serve.served import CameraNow, Served, state_of
from pipeline.store import EVER_US, GAP_US, activity, covered, gaps

router = APIRouter(prefix="/api")

MOST_EVENTS = 500
_LEVELS = {"full": "full", "foreground": "foreground", "thin": "thinned"}
Buckets = Annotated[int, Query(ge=1, le=2000)]


@router.get("/cameras")
def cameras(here: Here, who: Who) -> list[dict[str, object]]:
    """Those that the user may see, with what they do now."""
    recorder = here.recorder.cameras()
    now_us = time.time_ns() // 1000
    return [_camera(here, camera, recorder.get(camera), now_us) for camera in here.cameras(who)]


def _camera(here: Served, camera: str, known: CameraNow | None, now_us: int) -> dict[str, object]:
    newest = here.archive.store.segment_at(camera, EVER_US)
    info = here.archive.info(newest) if newest is not None else None
    last_us = newest.last_wall_us if newest is not None else None
    settings = here.site.now.cameras.get(camera)
    summary = here.archive.summary().get(camera)
    return {
        "id": camera,
        "width": info.width if info is not None else None,
        "height": info.height if info is not None else None,
        "fps": round(info.fps, 3) if info is not None else None,
        "state": state_of(known, last_us, now_us),
        "first": summary.first_wall_us / US if summary is not None and summary.first_wall_us is not None else None,
        "last": last_us / US if last_us is not None else None,
        "fps_in": known.fps_in if known is not None else 0.0,
        "dropped": known.dropped if known is not None else 0,
        "reconnects": known.reconnects if known is not None else 0,
        "trouble": known.trouble if known is not None else "",
        "bytes_foreground": summary.bytes_foreground if summary is not None else 0,
        "bytes_background": summary.bytes_background if summary is not None else 0,
        "masks": settings.masks if settings is not None else [],
    }


@router.get("/cameras/{camera}/timeline")
def timeline(here: Here, camera: Camera, begin: From, end: To, buckets: Buckets = 400) -> dict[str, object]:
    """Where there is footage and what aging has left of it, what was seen when, and the newest events."""
    from_us, to_us = span_us(begin, end)
    store = here.archive.store
    bucket_us = max(1, -(-(to_us - from_us) // buckets))
    gap_us = max(GAP_US, bucket_us)  # what is narrower than a bucket cannot be shown
    spans = covered(store, camera, from_us=from_us, to_us=to_us, gap_us=gap_us)
    seen = [0.0] * buckets
    for item in activity(store, camera, from_us=from_us, to_us=to_us, bucket_us=bucket_us):
        seen[min(buckets - 1, (item.from_us - from_us) // bucket_us)] = float(sum(item.tracks.values()))
    events = store.events(camera, from_us=from_us, to_us=to_us, newest_first=True, limit=MOST_EVENTS + 1)
    return {
        "from": begin,
        "to": end,
        "covered": [[span.from_us / US, span.to_us / US, _LEVELS[span.level]] for span in spans],
        "gaps": [[a / US, b / US] for a, b in gaps(spans, from_us=from_us, to_us=to_us, gap_us=gap_us)],
        "activity": seen,
        "events": [
            {
                "id": f"{event.first_wall_us}-{event.label}", "t0": event.first_wall_us / US,
                "t1": event.last_wall_us / US, "class": event.label, "score": round(event.best.score, 4),
            }
            for event in sorted(events[:MOST_EVENTS], key=lambda event: event.first_wall_us)
        ],
        "more": len(events) > MOST_EVENTS,
    }  # fmt: skip


@router.get("/cameras/{camera}/layers")
def layers(here: Here, camera: Camera, begin: From, end: To, buckets: Buckets = 400) -> dict[str, object]:
    """Bytes of each layer by time: frame by frame in a short range, else a segment's spread evenly over its length."""
    from_us, to_us = span_us(begin, end)
    found = bytes_by_time(here.archive, camera, from_us=from_us, to_us=to_us, buckets=buckets)
    return {"from": begin, "to": end, "foreground": found[0], "background": found[1]}


@router.get("/search")
def find(
    here: Here,
    who: Who,
    begin: From = 0.0,
    end: To = 1e11,
    camera: Annotated[str | None, Query(pattern=CAMERA_ID)] = None,
    label: Annotated[str | None, Query(alias="class", min_length=1, max_length=64)] = None,
    zone: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Annotated[str | None, Query(pattern=r"^\d{1,17}-\d{1,6}$")] = None,
) -> dict[str, object]:
    """What was seen, the newest first. `zone`: x0,y0,x1,y1 as shares of the picture; what was in it at any moment."""
    from_us, to_us = span_us(begin, end)
    if camera is not None:
        allow(here, who, camera)
    try:
        area = parse_zone(zone) if zone is not None else None
    except ValueError as error:
        raise HTTPException(422, f"zone: {error}") from None
    cameras = (camera,) if camera is not None else here.cameras(who)
    page = search(here.archive, SearchQuery(cameras, from_us, to_us, label, area), limit=limit, before=before)
    return {"results": [_result(found) for found in page.found], "next": page.next}


def _result(found: Found) -> dict[str, object]:
    return {
        "camera": found.camera,
        "t0": found.first_wall_us / US,
        "t1": found.last_wall_us / US,
        "t": found.best_wall_us / US,
        "class": found.label,
        "score": round(found.score, 4),
        "box": [round(share, 5) for share in found.box],
    }
