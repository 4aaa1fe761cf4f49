"""A made-up street, endless and the same for the same seed: people walk past a bus, and where they are is known.

Everything is cut from one photograph that the ultralytics package carries. Each picture is a function of its index
alone, so that the scene can be entered anywhere. Knows no files but that one.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.color import frame_from_rgb
from pipeline.errors import SourceError
from pipeline.types import Detection, Plane

Points = npt.NDArray[np.int32]

# Outlines of the two whole people in the photograph, in its pixels.
_COAT = """
103,420 102,412 103,403 114,399 128,400 145,401 154,407 157,416 154,425 154,430 155,437 153,449 151,460 148,468
145,471 154,471 164,478 174,493 175,501 180,512 182,518 187,532 197,545 200,555 200,572 197,582 189,591 178,600
182,612 186,622 188,641 191,662 193,682 189,692 177,692 178,703 182,728 187,762 191,795 197,828 200,847 201,855
212,862 220,870 235,876 246,880 244,886 228,890 212,893 195,897 178,897 176,887 177,866 179,855 174,845 170,824
164,799 157,770 151,749 143,728 135,714 128,705 123,702 120,716 114,745 108,762 98,774 95,791 90,816 86,837 86,851
89,860 97,872 105,885 107,893 103,898 93,899 78,897 62,893 54,887 55,874 58,858 60,851 59,828 62,816 78,801 78,787
75,762 73,728 72,701 64,699 60,696 62,666 63,628 65,591 64,578 62,562 61,545 62,520 63,503 68,491 80,478 89,471 97,464
99,455 103,448 102,439 103,432 108,433 107,426
"""
_JACKET = """
264,438 262,425 264,417 271,411 282,408 292,410 300,419 302,429 307,438 307,445 304,450 303,460 301,469 301,474
307,479 317,483 328,494 334,506 338,523 341,540 341,548 338,556 330,565 320,568 324,583 328,608 332,642 336,667
339,688 337,692 338,704 339,717 336,727 325,738 313,748 300,760 290,773 285,778 287,781 289,792 294,801 300,810
299,818 292,818 286,812 282,806 280,802 278,812 280,819 282,829 287,838 293,848 293,855 284,858 269,854 260,849
257,842 258,831 256,821 255,812 250,788 248,758 245,729 243,702 225,699 224,692 228,667 232,642 238,608 241,592
237,579 237,558 238,542 237,533 237,525 241,519 246,512 248,502 252,492 263,485 273,477 273,469 272,458 268,453
265,444
"""

# The bus's side between its front wheel and a seam, as it stands in the photograph and as it would stand seen from the
# front: (left, right) x (top, bottom).
_SIDE = ((340, 372), (682, 372), (682, 690), (340, 757))
_PANEL_WIDTH, _KERB = 376, 385
_CANVAS = (942, 530)  # width, height
_LETTERING = (610, 682, 378, 505)  # of the photograph: writing that the seam would cut; x0, x1, y0, y1
# Of the panel:
_WORDS = (218, 372, 202, 286)  # writing that must not be mirrored
_NUMBER = (0, 28, 176, 208)  # writing that the other seam would cut
_BOLLARD = (336, 376, 296, 416)  # would grow double there

_WALKERS = 5
_LIGHT_PERIOD_S, _SWITCH_S = 47.0, 16.0
_NOISE_FIELDS = 6


@dataclass(frozen=True, slots=True)
class _Walk:
    """One way across the picture. Lengths in picture widths and heights, times in seconds."""

    figure: int
    feet: float
    height: float
    speed: float  # widths a second, negative to the left
    begin_s: float
    pause_s: float
    pause_at: float

    def position(self, now_s: float) -> float:
        """Where the middle of the figure is, in picture widths from the left."""
        walked = max(now_s - self.begin_s, 0.0) * abs(self.speed)
        walked = min(walked, self.pause_at) + max(walked - self.pause_at - self.pause_s * abs(self.speed), 0.0)
        return walked - 0.15 if self.speed > 0 else 1.15 - walked

    def standing(self, now_s: float) -> bool:
        walked = (now_s - self.begin_s) * abs(self.speed)
        return self.pause_at < walked < self.pause_at + self.pause_s * abs(self.speed)


class StreetScene:
    """The street at one size and rate. `planes(index)` is the picture, `boxes(index)` the truth about it."""

    def __init__(self, *, seed: int = 1, width: int = 640, height: int = 360, fps: float = 10.0) -> None:
        self._seed, self._width, self._height, self._fps = seed, width, height, fps
        background, self._figures = _material()
        self._background = _cover(background, width, height)
        noise = np.random.default_rng(seed)
        shape = (_NOISE_FIELDS, height + 64, width + 64)
        self._noise = np.clip(np.rint(noise.normal(0, 1.7, shape)), -8, 8).astype(np.int16)

    def planes(self, index: int) -> tuple[Plane, Plane, Plane]:
        """8-bit 4:2:0, BT.709, limited range."""
        now_s = index / self._fps
        rgb = self._background.copy()
        for walk in self._walks(now_s):
            self._draw(rgb, walk, now_s)
        rgb = cv2.convertScaleAbs(rgb, alpha=self._light(now_s))
        frame = frame_from_rgb(rgb, 0, 0, 0)
        chance = np.random.default_rng((self._seed, index))
        y, u, v = (self._with_noise(plane, chance) for plane in (frame.y, frame.u, frame.v))
        return y, u, v

    def boxes(self, index: int) -> list[Detection]:
        """Everybody of whom at least a third is in the picture, hidden behind others or not."""
        now_s = index / self._fps
        found = []
        for walk in self._walks(now_s):
            x, y, w, h = self._place(walk, now_s)
            x0, x1, y1 = max(x, 0.0), min(x + w, float(self._width)), min(y + h, float(self._height))
            if x1 - x0 > w / 3:
                found.append(Detection(x0, max(y, 0.0), x1, y1, "person", 1.0))
        return found

    def _walks(self, now_s: float) -> list[_Walk]:
        """Who is on the way, the farthest first. Each walker starts anew every so often, each time otherwise."""
        walks = []
        for walker in range(_WALKERS):
            period_s = 17.0 + 5.0 * walker
            turn = math.floor(now_s / period_s + walker * 0.37)
            chance = np.random.default_rng((self._seed, walker, max(turn, 0)))
            depth = float(chance.uniform())
            speed = float(chance.uniform(0.08, 0.16)) * (0.75 + 0.5 * depth)
            walks.append(
                _Walk(
                    figure=walker % 2,
                    feet=0.775 + 0.19 * depth,
                    height=float(0.36 + 0.2 * depth + chance.uniform(-0.02, 0.02)),
                    speed=speed if chance.uniform() < 0.5 else -speed,
                    begin_s=(turn - walker * 0.37) * period_s,
                    pause_s=float(chance.uniform(1.5, 4.0)) if chance.uniform() < 0.4 else 0.0,
                    pause_at=float(chance.uniform(0.4, 0.9)),
                )
            )
        return sorted(walks, key=lambda walk: walk.feet)

    def _place(self, walk: _Walk, now_s: float) -> tuple[float, float, float, float]:
        """Left, top, width and height of a figure in pixels."""
        figure = self._figures[walk.figure]
        height = walk.height * self._height
        width = height * figure.shape[1] / figure.shape[0]
        stride = 0.0 if walk.standing(now_s) else abs(math.sin(now_s * 2 * math.pi * 0.9 + 3 * walk.feet))
        top = walk.feet * self._height - height - 0.012 * height * stride
        return walk.position(now_s) * self._width - width / 2, top, width, height

    def _draw(self, rgb: Plane, walk: _Walk, now_s: float) -> None:
        x, y, w, h = self._place(walk, now_s)
        if x + w <= 0 or x >= self._width:
            return
        self._draw_shadow(rgb, x + w / 2, walk.feet * self._height, w)
        figure = self._figures[walk.figure]
        small = cv2.resize(figure, (max(1, round(w)), max(1, round(h))), interpolation=cv2.INTER_AREA)
        if walk.speed < 0:  # in the photograph they look to the right
            small = small[:, ::-1]
        left, top = math.floor(x), math.floor(y)
        shift = np.array([[1, 0, x - left], [0, 1, y - top]])
        size = (small.shape[1] + 1, small.shape[0] + 1)
        _blend(rgb, cv2.warpAffine(small, shift, size, flags=cv2.INTER_LINEAR), left, top)

    def _draw_shadow(self, rgb: Plane, x: float, y: float, width: float) -> None:
        """A soft dark spot under the feet, longer to the left, away from the sun."""
        w, h = max(8, round(width * 1.8)), max(4, round(width * 0.22))
        dark = np.zeros((h + 8, w + 8, 4), np.float32)
        centre = ((w + 8) * 2 // 3, (h + 8) // 2)
        cv2.ellipse(dark, centre, (w // 3, max(1, h // 3)), 4, 0, 360, (0, 0, 0, 0.55), -1, cv2.LINE_AA)
        _blend(rgb, cv2.GaussianBlur(dark, (7, 7), 0), round(x - (w + 8) * 2 / 3), round(y - (h + 8) / 2 - 1))

    def _light(self, now_s: float) -> float:
        """Gain of the whole picture: clouds pass, and a lamp is switched."""
        lamp = 1.0 if int(now_s / _SWITCH_S) % 2 == 0 else 0.86
        return lamp * (1 + 0.05 * math.sin(2 * math.pi * now_s / _LIGHT_PERIOD_S))

    def _with_noise(self, plane: Plane, chance: np.random.Generator) -> Plane:
        field, dy, dx = (int(chance.integers(limit)) for limit in (_NOISE_FIELDS, 64, 64))
        h, w = plane.shape
        noisy: Plane = np.clip(plane + self._noise[field, dy : dy + h, dx : dx + w], 0, 255).astype(np.uint8)
        return noisy


def demo_boxes(index: int, *, seed: int = 1, width: int = 640, height: int = 360, fps: float = 10.0) -> list[Detection]:
    """The truth about a picture of `demo://street`."""
    return StreetScene(seed=seed, width=width, height=height, fps=fps).boxes(index)


@lru_cache(maxsize=1)
def _material() -> tuple[Plane, tuple[npt.NDArray[np.float32], ...]]:
    """The empty street, RGB uint8, and the figures, (H,W,4) float32 with RGB 0..255 times alpha and alpha 0..1."""
    package = importlib.util.find_spec("ultralytics")
    if package is None or not package.submodule_search_locations:
        raise SourceError("the demo scene is made from a photograph of the ultralytics package, which is not installed")
    path = Path(package.submodule_search_locations[0], "assets", "bus.jpg")
    photo = cv2.imread(str(path))
    if photo is None or photo.shape != (1080, 810, 3):
        raise SourceError(f"the demo scene's photograph is missing or not the one expected: {path}")
    photo = cv2.cvtColor(photo, cv2.COLOR_BGR2RGB)
    return _empty_street(photo), tuple(_figure(photo, outline) for outline in (_COAT, _JACKET))


def _figure(photo: Plane, outline: str) -> npt.NDArray[np.float32]:
    points = np.array([pair.split(",") for pair in outline.split()], np.int32)
    alpha = np.zeros(photo.shape[:2], np.uint8)
    cv2.fillPoly(alpha, [points], 255, cv2.LINE_AA)
    alpha = cv2.GaussianBlur(cv2.erode(alpha, np.ones((3, 3), np.uint8)), (3, 3), 0)
    x, y, w, h = cv2.boundingRect(points)
    cut = alpha[y : y + h, x : x + w, None].astype(np.float32) / 255
    figure: npt.NDArray[np.float32] = np.concatenate([photo[y : y + h, x : x + w] * cut, cut], axis=2)
    return figure


def _empty_street(photo: Plane) -> Plane:
    """The bus's clean side, seen from the front and put together with its mirror images to a longer bus."""
    photo = photo.copy()
    x0, x1, y0, y1 = _LETTERING
    for y in range(y0, y1):  # a dark window: the shade beside the writing, line by line
        photo[y, x0 - 24 : x1 + 20] = photo[y, x0 - 32 : x0 - 26].mean(axis=0)
    shoe = (slice(800, 900), slice(650, 720))
    photo[shoe] = photo[800:900, 570:640]
    corners = np.array([(0, 12), (_PANEL_WIDTH, 12), (_PANEL_WIDTH, _KERB), (0, _KERB)], np.float32)
    view = cv2.getPerspectiveTransform(np.array(_SIDE, np.float32), corners)
    panel = cv2.warpPerspective(
        photo, view, (_PANEL_WIDTH, _CANVAS[1]), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    x0, x1, y0, y1 = _NUMBER
    panel[y0:y1, x0:x1] = panel[y0:y1, x1 : x1 + 6].mean(axis=1, keepdims=True)
    x0, x1, y0, y1 = _BOLLARD
    panel[y0:y1, x0:x1] = panel[y0:y1, 2 * x0 - x1 : x0][:, ::-1]
    mirrored = np.ascontiguousarray(panel[:, ::-1])
    x0, x1, y0, y1 = _WORDS
    mirrored[y0:y1, _PANEL_WIDTH - x1 : _PANEL_WIDTH - x0] = panel[y0:y1, x0:x1]
    street: Plane = np.concatenate([mirrored, panel, mirrored], axis=1)[:, 60 : 60 + _CANVAS[0]]
    return street


def _cover(picture: Plane, width: int, height: int) -> Plane:
    """Scaled to fill (height, width), what is too much cut off evenly at the sides or at the top."""
    scale = max(width / picture.shape[1], height / picture.shape[0])
    w, h = max(width, round(picture.shape[1] * scale)), max(height, round(picture.shape[0] * scale))
    scaled = cv2.resize(picture, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left = (w - width) // 2
    return np.ascontiguousarray(scaled[h - height :, left : left + width])


def _blend(rgb: Plane, patch: npt.NDArray[np.float32], left: int, top: int) -> None:
    """Lay a patch, (h,w,4) as `_material` makes them, over the picture; what lies outside is cut."""
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + patch.shape[1], rgb.shape[1]), min(top + patch.shape[0], rgb.shape[0])
    if x0 >= x1 or y0 >= y1:
        return
    part = patch[y0 - top : y1 - top, x0 - left : x1 - left]
    under = rgb[y0:y1, x0:x1]
    under[:] = np.clip(under * (1 - part[..., 3:]) + part[..., :3] + 0.5, 0, 255).astype(np.uint8)
