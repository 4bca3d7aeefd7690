"""The app's own predictions for films whose truth is known."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ptx_app.data.challenge import decode_run_lengths, find_films, is_positive, read_run_lengths
from ptx_app.data.index import LabelledFilm, MaskKind
from ptx_app.data.store import as_pixels, read_grey
from ptx_app.film.radiograph import Box, View
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.inference.predict import Prediction
from ptx_app.pipeline import Detector


@dataclass(frozen=True)
class KnownFilm:
    """A film and its truth.

    Attributes:
        name: name of the film.
        group: what the bootstrap keeps together: the patient, if known.
        positive: whether there is a pneumothorax.
        view: view position.
        pixels: (h, w) float32 in [0, 1], as in a Radiograph.
        truth: (H, W) bool, all False for a negative film. It may be larger than the pixels, if these were reduced.
        outlined: whether the truth may be compared with an outline: not where it is missing, or was drawn by a model.
        field: as in a Radiograph.
    """

    name: str
    group: str
    positive: bool
    view: View
    pixels: NDArray[np.float32]
    truth: NDArray[np.bool_]
    outlined: bool = True
    field: Box | None = None


@dataclass(frozen=True)
class PredictedFilm:
    """A film without its pixels, and its prediction.

    Attributes:
        name, group, positive, view, truth, outlined: as in KnownFilm.
        prediction: its score uses the calibration of the weights that made it.
    """

    name: str
    group: str
    positive: bool
    view: View
    truth: NDArray[np.bool_]
    prediction: Prediction
    outlined: bool = True

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the truth in px."""
        return self.truth.shape[0], self.truth.shape[1]


def predict_films(
    detector: Detector, films: Iterable[KnownFilm], total: int | None = None, what: str = "predict"
) -> list[PredictedFilm]:
    """Predict films as the app does, but without the film check, with a progress bar of `total` films."""
    return [
        PredictedFilm(
            film.name,
            film.group,
            film.positive,
            film.view,
            film.truth,
            detector.predict_film(film.pixels, film.truth.shape, film.field),
            film.outlined,
        )
        for film in tqdm(films, what, total, unit="film")
    ]


def prepared_films(films: Sequence[LabelledFilm]) -> Iterator[KnownFilm]:
    """Films of a prepared folder. Raises SettingsError FILM_UNREADABLE."""
    for film in films:
        pixels = as_pixels(read_grey(film.image))
        truth = read_grey(film.mask).astype(np.bool_) if film.mask else _nothing((1024, 1024))
        outlined = film.mask_known and film.mask_kind is not MaskKind.READER_AGREED
        yield KnownFilm(film.image_id, film.group, film.positive, film.view, pixels, truth, outlined)


def dicom_films(folder: Path) -> Iterator[KnownFilm]:
    """Films of a folder in the challenge's layout, with `train-rle.csv`, read in the sandbox.

    Patients come from `cases.csv` with the columns uid and patient, if there is one.

    Raises:
        SettingsError: FILMS_MISSING, RUN_LENGTHS_UNREADABLE, RUN_LENGTHS_INVALID.
        FilmError: as the reader.
    """
    runs = read_run_lengths(folder / "train-rle.csv")
    patients = _patients(folder / "cases.csv")
    with SandboxedReader(processes=1) as reader:
        for uid, path in find_films(folder).items():
            if uid not in runs:
                continue
            radiograph = reader.read(path.read_bytes())
            shape = radiograph.shape
            positive = is_positive(runs[uid])
            truth = decode_run_lengths(runs[uid], shape) if positive else _nothing(shape)
            group, pixels = patients.get(uid, uid), radiograph.pixels
            yield KnownFilm(uid, group, positive, radiograph.view, pixels, truth, field=radiograph.field)


def _patients(table: Path) -> dict[str, str]:
    if not table.exists():
        return {}
    with table.open(newline="", encoding="utf-8") as file:
        return {row["uid"]: row["patient"] for row in csv.DictReader(file) if row.get("patient")}


def _nothing(shape: tuple[int, int]) -> NDArray[np.bool_]:
    return np.broadcast_to(np.False_, shape)  # a view that takes no memory
