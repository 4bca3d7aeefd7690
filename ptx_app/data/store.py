"""Films and masks, decoded once, because decoding WebP at every training step is too slow."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ptx_app.data.index import LabelledFilm
from ptx_app.errors import SettingsError
from ptx_app.film.radiograph import Box

Picture = NDArray[np.uint8]

STORED_SIDE = 512  # of the pictures in a prepared folder


class FilmStore:
    """Films (n, 512, 512) uint8 and masks (m, 512, 512) uint8 in {0, 1}, as two memory-mapped arrays in a cache folder.

    The name of each array depends on its files and their state, so other or changed films get a new array.
    """

    def __init__(
        self, films: Sequence[LabelledFilm], cache: Path, boxes: Mapping[str, Box | None] | None = None
    ) -> None:
        """Open the cache of these films, and make it first if it is missing.

        Args:
            films: of a prepared folder.
            cache: folder of the arrays.
            boxes: the part of the (512, 512) px to give, by the film's name; all of them for a film without one.

        Raises:
            SettingsError: FILM_UNREADABLE if a picture of the index cannot be decoded.
        """
        self._boxes = dict(boxes or {})
        films = sorted(films, key=lambda film: film.image_id)
        self._row = {film.image_id: row for row, film in enumerate(films)}
        masked = [film for film in films if film.mask]
        self._mask_row = {film.image_id: row for row, film in enumerate(masked)}
        cache.mkdir(parents=True, exist_ok=True)
        pictures = [film.image for film in films]
        masks = [film.mask for film in masked if film.mask]
        self._films = _decoded(cache, pictures, _read_film, "films")
        self._masks = _decoded(cache, masks, _read_mask, "masks")

    def film(self, film: LabelledFilm) -> Picture:
        """The film's box, (H, W) uint8, white = dense."""
        return np.array(self._box(film).of(self._films[self._row[film.image_id]]))

    def shape(self, film: LabelledFilm) -> tuple[int, int]:
        """Rows and columns of the film's box."""
        box = self._box(film)
        return box.height, box.width

    def mask(self, film: LabelledFilm) -> Picture:
        """The same box of its mask, (H, W) uint8 in {0, 1}; empty if the film has none."""
        box, row = self._box(film), self._mask_row.get(film.image_id)
        return np.zeros((box.height, box.width), np.uint8) if row is None else np.array(box.of(self._masks[row]))

    def _box(self, film: LabelledFilm) -> Box:
        return self._boxes.get(film.image_id) or Box(0, 0, STORED_SIDE, STORED_SIDE)


def _decoded(cache: Path, sources: list[Path], read: Callable[[Path], Picture], what: str) -> Picture:
    names = json.dumps([_state(source) for source in sources])
    target = cache / f"{hashlib.sha256(names.encode()).hexdigest()[:16]}.{what}.npy"

    def pictures() -> Iterator[Picture]:
        with ThreadPoolExecutor() as pool:
            yield from tqdm(pool.map(read, sources), f"decode {what}", len(sources), unit="film")

    return stored(target, len(sources), pictures)


def stored(target: Path, count: int, pictures: Callable[[], Iterable[Picture]]) -> Picture:
    """An array (count, 512, 512) uint8 in a file, which is made first if it is missing.

    Args:
        target: the file; if making it is cut short, it is missing still.
        count: number of pictures.
        pictures: makes them, each (H, W) uint8 of at most 512 px. A smaller one lies in the upper left corner.
    """
    if not target.exists():
        partial = target.with_suffix(".part")
        array = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=(count, STORED_SIDE, STORED_SIDE))
        for row, picture in enumerate(pictures()):
            height, width = picture.shape
            array[row, :height, :width] = picture
        array.flush()
        partial.replace(target)
    kept: Picture = np.load(target, mmap_mode="r")
    return kept


def _state(source: Path) -> tuple[str, int, int]:
    try:
        found = source.stat()
    except OSError as error:
        raise _unreadable() from error
    return str(source), found.st_size, found.st_mtime_ns


def _unreadable() -> SettingsError:
    return SettingsError(
        "FILM_UNREADABLE", "A film or mask listed in index.csv cannot be read. Prepare the folder again."
    )


def read_grey(path: Path) -> Picture:
    """A grey picture from a prepared folder, (H, W) uint8. Raises SettingsError FILM_UNREADABLE."""
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise _unreadable()
    return np.asarray(picture, np.uint8)


def _read_film(path: Path) -> Picture:
    picture = read_grey(path)
    if picture.shape != (STORED_SIDE, STORED_SIDE):
        picture = np.asarray(cv2.resize(picture, (STORED_SIDE, STORED_SIDE), interpolation=cv2.INTER_AREA), np.uint8)
    return picture


def _read_mask(path: Path) -> Picture:
    mask = np.where(read_grey(path) > 0, np.uint8(255), np.uint8(0))
    return (cv2.resize(mask, (STORED_SIDE, STORED_SIDE), interpolation=cv2.INTER_AREA) >= 128).astype(np.uint8)


def as_pixels(film: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An 8-bit film as a Radiograph's pixels: float32 in [0, 1]."""
    return film.astype(np.float32) / np.float32(255)


def resize_mask(mask: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Stretch a mask in {0, 1} to (side, side) with area averaging. A pixel belongs to it if at least half covered."""
    share = cv2.resize(mask * np.uint8(255), (side, side), interpolation=cv2.INTER_AREA)
    return (share >= 128).astype(np.uint8)
