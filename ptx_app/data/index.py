"""The prepared layout's index: which films there are, what is known of each, and which a run may learn from."""

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ptx_app.errors import SettingsError
from ptx_app.film.radiograph import View

INDEX_COLUMNS = (
    "image_id",
    "split",
    "label",
    "mask_kind",
    "patient_id",
    "view",
    "age",
    "sex",
    "image",
    "mask",
    "mask_confidence",
)

_EXCLUDED = Path(__file__).with_name("excluded_films.csv")


class MaskKind(StrEnum):
    """Where a film's mask comes from, and so what it may do. Only expert labels may measure anything."""

    EXPERT = "expert"
    MATCHED = "expert-matched"
    CONSENSUS = "model-consensus"
    IMAGE_LABEL = "image-label-only"
    TEACHER = "teacher-drawn"  # in no index: `self_training` makes them


@dataclass(frozen=True)
class LabelledFilm:
    """One row of the index.

    Attributes:
        image_id: name of the film, used for files of results and never shown with a patient.
        split: "train" or "val".
        positive: whether there is a pneumothorax.
        mask_kind: where the mask comes from.
        patient: whose film it is, or None where that is unknown.
        view: view position.
        image, mask: files; mask is None for negative films and where the mask is not known.
        mask_confidence: how sure the mask is, in [0, 1]; 1 but for matched and teacher-drawn masks.
    """

    image_id: str
    split: str
    positive: bool
    mask_kind: MaskKind
    patient: str | None
    view: View
    image: Path
    mask: Path | None
    mask_confidence: float = 1.0

    @property
    def group(self) -> str:
        """What splitting and bootstrap keep together: the patient, or the film alone where nobody knows whose it is."""
        return self.patient or f"film {self.image_id}"

    @property
    def mask_known(self) -> bool:
        """Whether the film's mask (an empty one for a negative film) may be learnt from."""
        return self.mask_kind is not MaskKind.IMAGE_LABEL


def read_index(folder: Path) -> list[LabelledFilm]:
    """Read `index.csv` of a prepared folder.

    Raises:
        SettingsError: INDEX_UNREADABLE, INDEX_INVALID with the row that is wrong, PATIENT_IN_TWO_SPLITS.
    """
    try:
        with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            "INDEX_UNREADABLE", "The folder of films has no readable index.csv. Name a folder made by `prepare`."
        ) from error
    films = []
    for number, row in enumerate(rows, start=2):
        try:
            films.append(_parse(row, folder))
        except (KeyError, ValueError, TypeError) as error:
            raise SettingsError("INDEX_INVALID", f"index.csv is wrong in line {number}: {error}.") from error
    check_patients(films)
    return films


def _parse(row: dict[str, str], folder: Path) -> LabelledFilm:
    kind = MaskKind(row["mask_kind"])
    positive = bool(int(row["label"]))
    mask = folder / row["mask"] if row["mask"] else None
    if positive and kind is not MaskKind.IMAGE_LABEL and mask is None:
        raise ValueError("a positive film of this kind needs a mask")
    return LabelledFilm(
        image_id=row["image_id"],
        split=row["split"],
        positive=positive,
        mask_kind=kind,
        patient=row["patient_id"] or None,
        view=View(row["view"]) if row["view"] else View.UNKNOWN,
        image=folder / row["image"],
        mask=mask,
        mask_confidence=float(row["mask_confidence"] or 1.0),
    )


def excluded_films() -> frozenset[str]:
    """Names of the films that nothing learns from: `excluded_films.csv`, with the reason for each.

    They are no upright frontal films. A check trained on one half of the 4,622 training films found them in the other
    half; a look at each confirmed it.
    """
    with _EXCLUDED.open(newline="", encoding="utf-8") as file:
        return frozenset(row["image_id"] for row in csv.DictReader(file))


def check_patients(films: Iterable[LabelledFilm]) -> None:
    """Make sure that no patient has films in two splits. Raises SettingsError PATIENT_IN_TWO_SPLITS."""
    splits = {(film.patient, film.split) for film in films if film.patient}
    twice = sum(count > 1 for count in Counter(patient for patient, _ in splits).values())
    if twice:
        raise SettingsError(
            "PATIENT_IN_TWO_SPLITS",
            f"{twice} patients have films in more than one split. Split by patient, not by film.",
        )
