"""The index of a prepared folder: its films, what is known about each, and which may be trained on."""

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
    """Where a film's mask comes from. Figures are measured on expert labels only."""

    EXPERT = "expert"
    MATCHED = "expert-matched"
    CONSENSUS = "model-consensus"
    IMAGE_LABEL = "image-label-only"
    READER = "reader"  # a reader drew it, or says that there is no pneumothorax
    READER_AGREED = "reader-agreed"  # the model drew it, and a reader agreed
    READER_LABEL = "reader-label-only"


READERS = frozenset({MaskKind.READER, MaskKind.READER_AGREED, MaskKind.READER_LABEL})
"""Films labelled by readers of the page, who had seen the model's result before they answered."""
_UNKNOWN = frozenset({MaskKind.IMAGE_LABEL, MaskKind.READER_LABEL})


@dataclass(frozen=True)
class LabelledFilm:
    """One row of the index.

    Attributes:
        image_id: name of the film, used in file names of results and never shown with a patient.
        split: "train" or "val".
        positive: whether there is a pneumothorax.
        mask_kind: where the mask comes from.
        patient: the patient, or None if unknown.
        view: view position.
        image, mask: files; mask is None for negative films and if the mask is not known.
        mask_confidence: confidence in the mask, in [0, 1]; below 1 only for matched masks.
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
        """What split and bootstrap keep together: the patient, or the film alone if its patient is unknown."""
        return self.patient or f"film {self.image_id}"

    @property
    def mask_known(self) -> bool:
        """Whether the film's mask is known and may be trained on. A negative film has an empty mask."""
        return self.mask_kind not in _UNKNOWN


def read_index(folder: Path) -> list[LabelledFilm]:
    """Read `index.csv` of a prepared folder.

    Raises:
        SettingsError: INDEX_UNREADABLE, INDEX_INVALID with the wrong line, PATIENT_IN_TWO_SPLITS.
    """
    try:
        with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            "INDEX_UNREADABLE", "The folder of films has no readable index.csv. Choose a folder made by `ptx prepare`."
        ) from error
    films = []
    for number, row in enumerate(rows, start=2):
        try:
            films.append(_parse(row, folder))
        except (KeyError, ValueError, TypeError) as error:
            raise SettingsError(
                "INDEX_INVALID", f"index.csv is wrong in line {number}: {error}. Prepare the folder again."
            ) from error
    check_patients(films)
    return films


def _parse(row: dict[str, str], folder: Path) -> LabelledFilm:
    kind = MaskKind(row["mask_kind"])
    positive = bool(int(row["label"]))
    mask = folder / row["mask"] if row["mask"] else None
    if positive and kind not in _UNKNOWN and mask is None:
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
    """Names of the films that are never trained on: `excluded_films.csv`, which has the reason for each.

    They are not upright frontal films. A film check trained on one half of the 4,622 training films found them in the
    other half; each was confirmed by looking at it.
    """
    with _EXCLUDED.open(newline="", encoding="utf-8") as file:
        return frozenset(row["image_id"] for row in csv.DictReader(file))


def check_patients(films: Iterable[LabelledFilm]) -> None:
    """Check that no patient has films in two splits. Raises SettingsError PATIENT_IN_TWO_SPLITS."""
    splits = {(film.patient, film.split) for film in films if film.patient}
    twice = sum(count > 1 for count in Counter(patient for patient, _ in splits).values())
    if twice:
        raise SettingsError(
            "PATIENT_IN_TWO_SPLITS",
            f"{twice} patients have films in more than one split. Split by patient, not by film.",
        )
