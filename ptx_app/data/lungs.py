"""Films with lung masks: the index of `lungs-384`, and its folds for cross-validation.

A lung here is the lung field that is seen beside the heart and above the diaphragm. Masks that cover the heart are left
out: one network cannot learn two definitions.
"""

import csv
from pathlib import Path

from ptx_app.data.index import LabelledFilm, MaskKind
from ptx_app.errors import SettingsError
from ptx_app.film.radiograph import View

_DEFINITION = "heart excluded"


def read_lung_index(folder: Path) -> dict[str, list[LabelledFilm]]:
    """The films whose mask is of the lung fields without the heart, by source, in the order of their names.

    Every film counts as positive: its mask is never empty.

    Raises:
        SettingsError: INDEX_UNREADABLE, INDEX_INVALID.
    """
    try:
        with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: row["image_id"])
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            "INDEX_UNREADABLE", "The folder of lung masks has no readable index.csv. Name another with --data."
        ) from error
    except KeyError as error:
        raise SettingsError("INDEX_INVALID", "index.csv of the lung masks has no column image_id.") from error
    films: dict[str, list[LabelledFilm]] = {}
    for row in rows:
        if _DEFINITION in row["mask_means"]:
            films.setdefault(row["source"], []).append(_film(row, folder))
    return films


def _film(row: dict[str, str], folder: Path) -> LabelledFilm:
    name = row["image_id"]
    image = next(iter(sorted((folder / "images").glob(f"{name}.*"))), folder / "images" / name)
    mask = next(iter(sorted((folder / "masks").glob(f"{name}.*"))), folder / "masks" / name)
    return LabelledFilm(name, "train", True, MaskKind.EXPERT, None, View.UNKNOWN, image, mask)


def fold(
    films: dict[str, list[LabelledFilm]], number: int | None, folds: int
) -> tuple[list[LabelledFilm], list[LabelledFilm]]:
    """Films to train on and films held out: every `folds`-th of each source, from `number` on; none for None.

    Every film is of another patient in these sources.
    """
    trained: list[LabelledFilm] = []
    held_out: list[LabelledFilm] = []
    for own in films.values():
        for place, film in enumerate(own):
            (held_out if place % folds == number else trained).append(film)
    return trained, held_out
