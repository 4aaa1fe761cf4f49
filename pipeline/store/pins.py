"""Footage that neither ages nor goes, because somebody said so or it was exported."""

from __future__ import annotations

from pipeline.errors import UsageError
from pipeline.store.index import Store
from pipeline.store.rows import Pin


def pin(store: Store, camera: str, *, from_us: int, to_us: int, reason: str, now_us: int) -> Pin:
    """Keep a camera's segments that touch [from_us, to_us) as they are, from now on. Raises UsageError for an unknown
    camera or an empty range."""
    if to_us <= from_us:
        raise UsageError(f"empty time range: from {from_us} to {to_us} us")
    with store.writing() as database:
        row = database.execute("SELECT number FROM cameras WHERE id = ?", (camera,)).fetchone()
        if row is None:
            raise UsageError(f"camera {camera!r} is not in {store.root}")
        number = database.execute(
            "INSERT INTO pins (camera, from_us, to_us, reason, made_us) VALUES (?, ?, ?, ?, ?) RETURNING number",
            (row[0], from_us, to_us, reason, now_us),
        ).fetchone()[0]
    return Pin(int(number), camera, from_us, to_us, reason, now_us)


def unpin(store: Store, number: int) -> None:
    """Let footage age again. Raises UsageError if there is no such pin."""
    with store.writing() as database:
        if database.execute("DELETE FROM pins WHERE number = ?", (number,)).rowcount == 0:
            raise UsageError(f"{store.root} has no pin {number}")


def pins(store: Store, camera: str | None = None) -> tuple[Pin, ...]:
    """Pins by the footage's time."""
    with store.reading() as database:
        rows = database.execute(
            """SELECT p.number, c.id, p.from_us, p.to_us, p.reason, p.made_us FROM pins p
            JOIN cameras c ON c.number = p.camera WHERE :camera IS NULL OR c.id = :camera
            ORDER BY p.from_us, p.number""",
            {"camera": camera},
        )
        return tuple(Pin(*row) for row in rows)
