"""Which films a run trains on and which it holds out. Whole patients are drawn, not films."""

import random
from collections.abc import Sequence

from ptx_app.data.index import READERS, LabelledFilm, MaskKind
from ptx_app.errors import SettingsError


def hold_out(
    films: Sequence[LabelledFilm], positives: int, negatives: int, seed: int, most_a_patient: int = 3
) -> tuple[list[LabelledFilm], list[LabelledFilm]]:
    """Hold out some expert-labelled films from training, by patient.

    Whole patients are drawn at random by `seed`, first those whose films are all still needed. Films of unknown
    patients stay in training. If no patient is known at all, each film counts as a patient of its own. Patients with
    many films stay in training: their films are alike, so they say less about a threshold than the same number of films
    from different patients, and training would lose more films.

    Args:
        films: the training split.
        positives, negatives: approximate number of expert-labelled films of each label to hold out; the last patient
            drawn may add more.
        seed: seed of the draw.
        most_a_patient: patients with more films than this, of any label or kind, are not drawn.

    Returns:
        (films to train on, expert-labelled films held out).

    Raises:
        SettingsError: TOO_FEW_FILMS if there are not enough.
    """
    by_patient: dict[str, list[LabelledFilm]] = {}
    none_known = not any(film.patient for film in films)
    for film in films:
        if film.patient or none_known:
            by_patient.setdefault(film.group, []).append(film)
    patients = sorted(
        patient for patient, own in by_patient.items() if len(own) <= most_a_patient and any(map(_measures, own))
    )
    random.Random(seed).shuffle(patients)  # noqa: S311  (a split, no secret)
    wanted = {True: positives, False: negatives}
    drawn: set[str] = set()
    for suffices in (all, any):
        for patient in patients:
            own = [film for film in by_patient[patient] if _measures(film)]
            if patient not in drawn and suffices(wanted[film.positive] > 0 for film in own):
                drawn.add(patient)
                for film in own:
                    wanted[film.positive] -= 1
    if max(wanted.values()) > 0:
        raise SettingsError(
            "TOO_FEW_FILMS", "There are too few expert-labelled films to hold out that many. Hold out fewer."
        )
    trained = [film for film in films if film.group not in drawn]
    return trained, [film for film in films if film.group in drawn and _measures(film)]


def _measures(film: LabelledFilm) -> bool:
    return film.mask_kind is MaskKind.EXPERT


def validation_films(films: Sequence[LabelledFilm]) -> list[LabelledFilm]:
    """The expert-labelled films of the validation split, on which figures may be measured.

    Raises:
        SettingsError: TOO_FEW_FILMS if there are none with or none without a pneumothorax.
    """
    found = [film for film in films if film.split == "val" and film.mask_kind is MaskKind.EXPERT]
    if not _both(found):
        raise SettingsError(
            "TOO_FEW_FILMS",
            "The folder needs expert-labelled validation films with and without a pneumothorax. Prepare some, or "
            "measure on readers' answers with --labels reader.",
        )
    return found


def answered_films(films: Sequence[LabelledFilm]) -> list[LabelledFilm]:
    """The films that readers of the page have labelled, in any split.

    Raises:
        SettingsError: TOO_FEW_FILMS if there are none with or none without a pneumothorax.
    """
    found = [film for film in films if film.mask_kind in READERS]
    if not _both(found):
        raise SettingsError(
            "TOO_FEW_FILMS",
            "The folder needs readers' answers on films with and without a pneumothorax. Answer more films.",
        )
    return found


def _both(films: Sequence[LabelledFilm]) -> bool:
    return len({film.positive for film in films}) == 2
