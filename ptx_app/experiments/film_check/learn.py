"""Train the film check, and measure it.

Films come from `siim-512/` and `lungs-384/` in the data folder, other pictures from `not-chest/`. `dicom-cases/` is
only measured on, never trained on. Takes about five minutes on one core.
"""

import csv
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from safetensors.numpy import save_file
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from tqdm import tqdm

from ptx_app.data.index import excluded_films
from ptx_app.errors import SettingsError
from ptx_app.experiments.film_check.evaluate import Pictures, Splits, check_page, grey_of_file, measure_check
from ptx_app.experiments.film_check.pictures import PICTURE_SIDE, Picture, lay_wrong, no_film, vary_film, vary_other
from ptx_app.film.check.classifier import WEIGHTS_PATH, Floats, Layers, features, load_layers, logits, reduce
from ptx_app.model.manifest import ROOT
from ptx_app.model.manifest_editing import read_document, write_document
from ptx_app.weights.verify import digest

_SEED = 20
_MEMBERS, _HIDDEN, _EPOCHS = 3, (32, 16), 12
_VARIED, _WRONG = 3, 3  # per film, in addition to the film itself
_MADE, _OTHER = 5_500, 9_000  # synthetic pictures for each half of the films
_REFUSED = 0.003  # share of unseen films that may be rejected
_FOLDS = 5


@dataclass(frozen=True)
class Lesson:
    """Training data of a film check: `values` (n, FEATURES), and `upright` (n,), whether it is an upright film."""

    values: Floats
    upright: NDArray[np.bool_]


def find_pictures(data: Path) -> Pictures:
    """Find the films and the other pictures in the data folder.

    Raises:
        SettingsError: DATA_MISSING if one of the three folders is missing or cannot be read.
    """
    try:
        films = {split: _indexed(data / "siim-512", split) for split in ("train", "val")}
        lungs = {split: _indexed(data / "lungs-384", split) for split in ("train", "val")}
        others = sorted((data / "not-chest").iterdir())
    except (OSError, KeyError) as error:
        raise SettingsError(
            "DATA_MISSING", "Set --data or PTX_DATA to a folder that holds siim-512, lungs-384 and not-chest."
        ) from error
    return Pictures(
        films=[*films["train"], *lungs["train"]],
        validation=films["val"],
        elsewhere=lungs["val"],
        others=others,
        cases=data / "dicom-cases",
    )


def lesson_of_films(films: Sequence[Picture], draw: Generator) -> Lesson:
    """Every film, varied and in wrong orientations, and synthetic pictures: training data of all checks here."""

    def pictures() -> Iterable[tuple[Picture, bool]]:
        for film in films:
            yield film, True
            yield from ((vary_film(film, draw), True) for _ in range(_VARIED))
            yield from ((lay_wrong(vary_film(film, draw), draw), False) for _ in range(_WRONG))
        yield from ((no_film(films, draw), False) for _ in range(_MADE))

    return _lesson(pictures())


def lesson_of_others(others: Sequence[Picture], draw: Generator) -> Lesson:
    """Pictures that are not films, each varied many times."""
    chosen = (others[int(draw.integers(len(others)))] for _ in range(_OTHER))
    return _lesson((vary_other(picture, draw), False) for picture in chosen)


def learn(lessons: Sequence[Lesson], cut: float = 0.0) -> Layers:
    """Fit the networks. Their weights are rounded as they are shipped, so the figures are those of the shipped weights.

    Args:
        lessons: training data.
        cut: logit to shift to 0; from there on, a picture is accepted as an upright film.
    """
    values = np.concatenate([lesson.values for lesson in lessons])
    upright = np.concatenate([lesson.upright for lesson in lessons])
    members = []
    for seed in range(_MEMBERS):
        network = MLPClassifier(
            _HIDDEN, alpha=3e-3, batch_size=256, max_iter=_EPOCHS, n_iter_no_change=_EPOCHS, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # stopping at the maximum number of epochs is intended
            members.append(network.fit(values, upright))

    def stacked(arrays: Iterable[Floats]) -> Floats:
        return np.stack(list(arrays)).astype(np.float16).astype(np.float32)

    last = len(_HIDDEN)
    return tuple(
        (
            stacked(member.coefs_[index] for member in members),
            stacked(member.intercepts_[index] - (cut if index == last else 0.0) for member in members),
        )
        for index in range(last + 1)
    )


def cut_for(halves: Sequence[Sequence[Picture]], lessons: Sequence[Lesson], of_others: Lesson) -> float:
    """The logit below which `_REFUSED` of the films lie. Each half is tested with networks trained on the other.

    Args:
        halves: two halves of the films.
        lessons: training data made from each half.
        of_others: training data from pictures that are not films.
    """
    unseen = [
        logits(learn([lesson, of_others]), np.stack([reduce(film) for film in half]))
        for half, lesson in zip(halves, reversed(lessons), strict=True)
    ]
    return float(np.quantile(np.concatenate(unseen), _REFUSED))


def learn_all(pictures: Pictures, say: Callable[[str], None]) -> tuple[Layers, Splits]:
    """The film check to ship, and others for measuring on pictures that they were not trained on.

    Returns:
        (networks trained on everything, {way of splitting: [(networks, pictures that they were not trained on)]}).
    """
    draw = np.random.default_rng(_SEED)
    films = [_reduced(path) for path in pictures.films]
    halves = films[::2], films[1::2]
    of_films = [lesson_of_films(half, draw) for half in halves]
    say(f"{sum(len(lesson.upright) for lesson in of_films)} pictures from {len(films)} films, and synthetic ones")
    others = [_reduced(path) for path in pictures.others]
    cut = cut_for(halves, of_films, lesson_of_others(others, np.random.default_rng(_SEED)))
    say(f"{_REFUSED:.1%} of unseen films have a logit below {cut:.2f}")
    everything = range(len(others))
    kinds = [path.stem.split("__")[0] for path in pictures.others]
    order = draw.permutation(len(kinds))
    splits = {
        "five folds": [sorted(order[fold::_FOLDS].tolist()) for fold in range(_FOLDS)],
        "one kind left out": [[i for i in everything if kinds[i] == kind] for kind in sorted(set(kinds))],
    }

    def without(unseen: Sequence[int]) -> Layers:
        seen = [others[i] for i in everything if i not in unseen]
        layers = learn([*of_films, lesson_of_others(seen, np.random.default_rng(_SEED))], cut)
        say(f"trained without {len(unseen)} of the other pictures")
        return layers

    return without([]), {name: [(without(unseen), unseen) for unseen in folds] for name, folds in splits.items()}


def _indexed(folder: Path, split: str) -> list[Path]:
    excluded = excluded_films()
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        wanted = {
            row["image_id"] for row in csv.DictReader(file) if row["split"] == split and row["image_id"] not in excluded
        }
    return sorted(path for path in (folder / "images").iterdir() if path.stem in wanted)


def _reduced(path: Path) -> Picture:
    return np.asarray(
        cv2.resize(grey_of_file(path), (PICTURE_SIDE, PICTURE_SIDE), interpolation=cv2.INTER_AREA), np.float32
    )


def _lesson(pictures: Iterable[tuple[Picture, bool]], batch: int = 1000) -> Lesson:
    values, upright, thumbnails = [], [], []
    for picture, is_upright in pictures:
        thumbnails.append(reduce(picture))
        upright.append(is_upright)
        if len(thumbnails) == batch:
            values.append(features(np.stack(thumbnails)))
            thumbnails.clear()
    if thumbnails:
        values.append(features(np.stack(thumbnails)))
    return Lesson(np.concatenate(values), np.array(upright))


def register() -> None:
    """Write size and hash of the film check's weights to the manifest. Raises WeightsError as `write_document`."""
    entry = {
        "name": "film-check",
        "location": WEIGHTS_PATH.relative_to(ROOT).as_posix(),
        "bytes": WEIGHTS_PATH.stat().st_size,
        "sha256": digest(WEIGHTS_PATH),
        "provenance": "Trained on NIH ChestX-ray14, Montgomery and Shenzhen films, the same turned and inverted, and "
        "pictures of other things. Measured in docs/check.md.",
        "terms": "Research and education. Not a medical device.",
    }
    write_document(read_document() | {"film_check": entry})


def train_and_measure(data: Path, weights: Path, report: Path, *, keep: bool = False) -> None:
    """Train the film check, measure it, and write weights and report. The app's own weights also get a manifest entry.

    Training gives the same weights on the same make of processor only.

    Args:
        data: folder with siim-512, lungs-384, not-chest and dicom-cases.
        weights: safetensors file to write.
        report: Markdown file to write.
        keep: measure the weights that are in the file, and write the report alone. What is tested with a check that was
            not trained on it is still trained again.

    Raises:
        SettingsError: DATA_MISSING, FILM_UNREADABLE.
        WeightsError: as `write_document` and `load_layers`.
    """
    cv2.setNumThreads(1)
    pictures = find_pictures(data)
    layers, splits = learn_all(pictures, tqdm.write)
    if keep:
        layers = load_layers(weights)
    else:
        half = {
            f"{kind}_{index}": array.astype(np.float16)
            for index, layer in enumerate(layers)
            for kind, array in zip(("weight", "bias"), layer, strict=True)
        }
        save_file(half, weights)
        if weights == WEIGHTS_PATH:
            register()
    report.write_text(check_page(measure_check(layers, pictures, splits), digest(weights)), encoding="utf-8")
