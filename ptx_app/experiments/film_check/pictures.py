"""Training pictures of the film check: varied films, films in wrong orientations, and pictures that are not films.

All pictures here are (side, side) float32 in [0, 1], 1 = white. Every function draws from the generator that it gets.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

PICTURE_SIDE = 128  # px; twice the film check's thumbnail, so that a transformed picture is as sharp as a reduced one
# Quarter turns anticlockwise, and whether inverted. The most likely mistakes are listed twice.
_WRONG_WAYS = ((1, 0), (2, 0), (2, 0), (3, 0), (0, 1), (0, 1), (1, 1), (2, 1), (3, 1))

Picture = NDArray[np.float32]


def vary_film(film: Picture, draw: Generator) -> Picture:
    """The same film with other mirroring, position, exposure, marks and borders. It is still an upright film."""
    picture = film[:, ::-1] if draw.random() < 0.5 else film
    picture = _placed(picture, draw, turn=16, scale=0.18, shift=0.08, stretch=0.15)
    picture = _exposed(picture, draw)
    if draw.random() < 0.3:  # a letter, a label or a blacked-out name
        height, width = draw.integers(3, 12), draw.integers(4, 24)
        row, column = draw.integers(0, PICTURE_SIDE - height), draw.integers(0, PICTURE_SIDE - width)
        picture[row : row + height, column : column + width] = draw.choice([0.0, 1.0])
    kind = draw.random()
    if kind < 0.25:
        return _bordered(picture, draw, most=0.15)
    return _collimated(picture, draw) if kind < 0.33 else picture


def lay_wrong(film: Picture, draw: Generator) -> Picture:
    """The film turned by quarters, inverted, or both."""
    quarters, inverted = _WRONG_WAYS[draw.integers(len(_WRONG_WAYS))]
    return np.rot90(1 - film if inverted else film, quarters)


def no_film(films: Sequence[Picture], draw: Generator) -> Picture:
    """A synthetic picture that is not a film: noise, drawings, text, patterns, or a film scrambled or cut up."""
    film, other = (films[int(draw.integers(len(films)))] for _ in range(2))
    kinds: tuple[Callable[[], Picture], ...] = (
        lambda: _noise(draw),
        lambda: _drawing(draw),
        lambda: _drawing(draw),
        lambda: _text(draw),
        lambda: _pattern(draw),
        lambda: _scrambled(film, draw),
        lambda: _cropped(film, draw, least=0.2, most=0.5),
        lambda: _shuffled(film, other, draw),
        lambda: _on_a_page(film, (_noise, _drawing, _text, _pattern)[draw.integers(4)](draw), draw),
    )
    return _full_range(kinds[draw.integers(len(kinds))]())


def vary_other(picture: Picture, draw: Generator) -> Picture:
    """A picture that is not a film, changed more than a film may be. Whatever the change, it is still not a film."""
    picture = np.rot90(picture, int(draw.integers(4))) if draw.random() < 0.5 else picture
    picture = picture[:, ::-1] if draw.random() < 0.5 else picture
    picture = _cropped(picture, draw, least=0.4, most=0.95) if draw.random() < 0.5 else picture
    picture = _exposed(_placed(picture, draw, turn=20, scale=0.3, shift=0.12, stretch=0.3), draw)
    picture = np.clip(1 - picture, 0, 1) if draw.random() < 0.25 else picture
    return _bordered(picture, draw, most=0.15) if draw.random() < 0.25 else picture


def _placed(picture: Picture, draw: Generator, turn: float, scale: float, shift: float, stretch: float) -> Picture:
    angle, size, ratio = np.deg2rad(draw.uniform(-turn, turn)), 1 + draw.uniform(-scale, scale), draw.uniform(-1, 1)
    half = np.exp(ratio * stretch / 2)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = rotation @ np.diag([size * half, size / half])
    centre = np.full(2, (PICTURE_SIDE - 1) / 2)
    offset = centre - matrix @ centre + draw.uniform(-shift, shift, 2) * PICTURE_SIDE
    fill = draw.choice([0.0, 0.0, 1.0, float(np.median(picture))])
    border = cv2.BORDER_REPLICATE if draw.random() < 0.3 else cv2.BORDER_CONSTANT
    placed = cv2.warpAffine(
        np.ascontiguousarray(picture),
        np.c_[matrix, offset],
        (PICTURE_SIDE, PICTURE_SIDE),
        borderMode=border,
        borderValue=(fill,),
    )
    return np.asarray(placed, np.float32)


def _exposed(picture: Picture, draw: Generator) -> Picture:
    exposed = np.clip(picture, 0, 1) ** np.exp(draw.uniform(-0.7, 0.7))
    if draw.random() < 0.3:
        low, high = draw.uniform(-0.1, 0.25), draw.uniform(0.75, 1.1)
        exposed = (exposed - low) / (high - low)
    if draw.random() < 0.2:
        exposed = exposed + draw.normal(0, draw.uniform(0, 0.04), exposed.shape)
    return np.asarray(np.clip(exposed, 0, 1), np.float32)


def _bordered(picture: Picture, draw: Generator, most: float) -> Picture:
    top, bottom, left, right = map(int, draw.integers(0, int(most * PICTURE_SIDE), 4))
    canvas = np.full((PICTURE_SIDE, PICTURE_SIDE), draw.choice([0.0, 0.0, 1.0, draw.random()]), np.float32)
    return _pasted(canvas, picture, top, left, PICTURE_SIDE - top - bottom, PICTURE_SIDE - left - right)


def _collimated(picture: Picture, draw: Generator) -> Picture:
    """A small child's film: a large part of the picture is black."""
    height, width = (int(PICTURE_SIDE * share) for share in draw.uniform(0.5, 0.9, 2))
    top, left = int(draw.integers(0, PICTURE_SIDE - height)), int(draw.integers(0, PICTURE_SIDE - width))
    return _pasted(np.zeros((PICTURE_SIDE, PICTURE_SIDE), np.float32), picture, top, left, height, width)


def _on_a_page(film: Picture, page: Picture, draw: Generator) -> Picture:
    height, width = (int(PICTURE_SIDE * share) for share in draw.uniform(0.2, 0.45, 2))
    top, left = int(draw.integers(0, PICTURE_SIDE - height)), int(draw.integers(0, PICTURE_SIDE - width))
    return _pasted(_full_range(page), film, top, left, height, width)


def _pasted(canvas: Picture, picture: Picture, top: int, left: int, height: int, width: int) -> Picture:
    small = cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=cv2.INTER_AREA)
    canvas[top : top + height, left : left + width] = small
    return canvas


def _cropped(picture: Picture, draw: Generator, least: float, most: float) -> Picture:
    height, width = (int(PICTURE_SIDE * share) for share in draw.uniform(least, most, 2))
    top, left = draw.integers(0, PICTURE_SIDE - height), draw.integers(0, PICTURE_SIDE - width)
    part = np.ascontiguousarray(picture[top : top + height, left : left + width])
    return np.asarray(cv2.resize(part, (PICTURE_SIDE, PICTURE_SIDE)), np.float32)


def _shuffled(film: Picture, other: Picture, draw: Generator) -> Picture:
    """Tiles of one film or of two, most of them out of place."""
    count = int(draw.choice([2, 2, 3, 4]))
    side = PICTURE_SIDE // count
    sources = (film, other if draw.random() < 0.5 else film)
    places = [(row * side, column * side) for row in range(count) for column in range(count)]
    order = draw.permutation(count**2)
    while (order == np.arange(count**2)).mean() > 0.5:
        order = draw.permutation(count**2)
    picture = np.zeros((side * count, side * count), np.float32)
    for (row, column), origin in zip(places, order, strict=True):
        top, left = places[origin]
        source = sources[draw.integers(2)]
        picture[row : row + side, column : column + side] = source[top : top + side, left : left + side]
    return np.asarray(cv2.resize(picture, (PICTURE_SIDE, PICTURE_SIDE)), np.float32)


def _scrambled(film: Picture, draw: Generator) -> Picture:
    """The film's spectrum with the phases of noise. It keeps grey levels and sharpness but not the shape."""
    phases = np.angle(np.fft.rfft2(draw.normal(size=film.shape)))
    scrambled = np.fft.irfft2(np.abs(np.fft.rfft2(film)) * np.exp(1j * phases), s=film.shape)
    return np.asarray(scrambled, np.float32)


def _noise(draw: Generator) -> Picture:
    """Noise whose spectrum falls with a power of the frequency, from white noise to clouds."""
    frequency = np.hypot(np.fft.fftfreq(PICTURE_SIDE)[:, None], np.fft.rfftfreq(PICTURE_SIDE)[None])
    frequency[0, 0] = 1
    waves = draw.normal(size=(2, *frequency.shape))
    spectrum = (waves[0] + 1j * waves[1]) / frequency ** draw.uniform(0, 2.5)
    return _full_range(np.fft.irfft2(spectrum, s=(PICTURE_SIDE, PICTURE_SIDE)))


def _drawing(draw: Generator) -> Picture:
    """Ellipses, boxes, lines and polygons, sharp or soft, clean or grainy; often inside an outline, like a slice."""
    picture = np.full((PICTURE_SIDE, PICTURE_SIDE), draw.choice([0.0, 1.0, draw.random()]), np.float32)

    def point() -> tuple[int, int]:
        return int(draw.integers(PICTURE_SIDE)), int(draw.integers(PICTURE_SIDE))

    def ellipse(centre: tuple[int, int], least: int, most: int, thickness: int) -> None:
        axes = int(draw.integers(least, most)), int(draw.integers(least, most))
        cv2.ellipse(picture, centre, axes, draw.uniform(0, 180), 0, 360, draw.random(), thickness)

    if draw.random() < 0.5:
        ellipse(
            (int(PICTURE_SIDE / 2 + draw.integers(-15, 15)), int(PICTURE_SIDE / 2 + draw.integers(-15, 15))), 20, 64, -1
        )
    for _ in range(draw.integers(1, 14)):
        thickness = int(draw.choice([-1, -1, 1, 2, 4]))
        match draw.integers(4):
            case 0:
                ellipse(point(), 2, 40, thickness)
            case 1:
                cv2.rectangle(picture, point(), point(), draw.random(), thickness)
            case 2:
                cv2.line(picture, point(), point(), draw.random(), int(draw.integers(1, 12)))
            case _:
                corners = draw.integers(0, PICTURE_SIDE, (int(draw.integers(3, 7)), 2)).astype(np.int32)
                cv2.fillPoly(picture, [corners], draw.random())
    if draw.random() < 0.6:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), draw.uniform(0.5, 4)), np.float32)
    if draw.random() < 0.5:
        picture = picture + np.float32(draw.uniform(0, 0.4)) * _noise(draw)
    return picture


def _text(draw: Generator) -> Picture:
    page = np.full((PICTURE_SIDE, PICTURE_SIDE), draw.integers(150, 256), np.uint8)
    for line in range(int(draw.integers(5, 15)), PICTURE_SIDE, int(draw.integers(5, 16))):
        words = "".join(map(chr, draw.integers(65, 122, draw.integers(3, 26))))
        start, font, size = int(draw.integers(0, 20)), int(draw.integers(0, 7)), draw.uniform(0.2, 0.8)
        cv2.putText(page, words, (start, line), font, size, int(draw.integers(0, 100)), 1)
    page = 255 - page if draw.random() < 0.4 else page
    return np.asarray(page, np.float32) / np.float32(255)


def _pattern(draw: Generator) -> Picture:
    """A ramp, a spot, a grating or a chequerboard, with some noise."""
    down, right = (grid.astype(np.float32) for grid in np.mgrid[-1 : 1 : PICTURE_SIDE * 1j, -1 : 1 : PICTURE_SIDE * 1j])
    angle = draw.uniform(0, 2 * np.pi)
    along, across = np.cos(angle) * right + np.sin(angle) * down, np.cos(angle) * down - np.sin(angle) * right
    match draw.integers(4):
        case 0:
            pattern = along
        case 1:
            spot = np.hypot(right - draw.uniform(-1, 1), (down - draw.uniform(-1, 1)) * draw.uniform(0.4, 2))
            pattern = spot * draw.choice([-1, 1])
        case 2:
            pattern = np.sin(along * draw.uniform(2, 60) + draw.uniform(0, 6))
        case _:
            pattern = np.sign(np.sin(along * draw.uniform(2, 30)) * np.sin(across * draw.uniform(2, 30)))
    return _full_range(pattern + draw.uniform(0, 0.2) * draw.normal(size=(PICTURE_SIDE, PICTURE_SIDE)))


def _full_range(values: NDArray[np.floating]) -> Picture:
    values = values - values.min()
    return (values / max(float(values.max()), 1e-6)).astype(np.float32)
