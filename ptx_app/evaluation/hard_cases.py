"""Degraded films: badly exposed, blurred, noisy, low in contrast, cropped or turned, each in three strengths."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.evaluation.known_films import KnownFilm

Change = Callable[[KnownFilm, float], KnownFilm]


def _exposed(film: KnownFilm, gamma: float) -> KnownFilm:
    return replace(film, pixels=film.pixels ** np.float32(gamma))


def _blurred(film: KnownFilm, share: float) -> KnownFilm:
    blurred = cv2.GaussianBlur(film.pixels, (0, 0), share * film.pixels.shape[0])
    return replace(film, pixels=np.asarray(blurred, np.float32))


def _noisy(film: KnownFilm, deviation: float) -> KnownFilm:
    chance = np.random.default_rng(zlib.crc32(film.name.encode()))
    noise = chance.normal(0, deviation, film.pixels.shape).astype(np.float32)
    return replace(film, pixels=np.clip(film.pixels + noise, 0, 1))


def _flat(film: KnownFilm, contrast: float) -> KnownFilm:
    return replace(film, pixels=(film.pixels - np.float32(0.5)) * np.float32(contrast) + np.float32(0.5))


def _cropped(film: KnownFilm, margin: float) -> KnownFilm:
    def inside(picture: NDArray[Any]) -> NDArray[Any]:
        top, left = (round(margin * side) for side in picture.shape)
        return picture[top : picture.shape[0] - top, left : picture.shape[1] - left]

    return replace(film, pixels=np.ascontiguousarray(inside(film.pixels)), truth=inside(film.truth))


def _turned(film: KnownFilm, degrees: float) -> KnownFilm:
    def turned(picture: NDArray[Any], interpolation: int) -> NDArray[Any]:
        height, width = picture.shape
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
        return np.asarray(cv2.warpAffine(picture, matrix, (width, height), flags=interpolation))

    truth = turned(film.truth.astype(np.uint8), cv2.INTER_NEAREST).astype(np.bool_)
    return replace(film, pixels=turned(film.pixels, cv2.INTER_LINEAR).astype(np.float32), truth=truth)


# Name and unit of the strength, the three strengths, the change.
CASES: dict[str, tuple[tuple[float, float, float], Change]] = {
    "under-exposed (gamma)": ((1.4, 2.0, 3.0), _exposed),
    "over-exposed (gamma)": ((0.7, 0.5, 0.33), _exposed),
    "blurred (sigma, share of the height)": ((0.002, 0.005, 0.01), _blurred),
    "noisy (standard deviation)": ((0.03, 0.06, 0.12), _noisy),
    "low contrast (factor)": ((0.6, 0.4, 0.2), _flat),
    "cropped (share of each edge)": ((0.03, 0.06, 0.12), _cropped),
    "turned (degrees)": ((4.0, 8.0, 15.0), _turned),
}


def harder(films: Sequence[KnownFilm], case: str, strength: float) -> Iterator[KnownFilm]:
    """The films changed by a case of `CASES`. The truth is changed too if positions move."""
    change = CASES[case][1]
    return (change(film, strength) for film in films)
