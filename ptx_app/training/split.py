"""Which films a run trains on and which its weights never see. Patients are drawn, not films."""

import random
from collections.abc import Sequence
from pathlib import Path

from ptx_app.errors import SettingsError
from ptx_app.training.catalogue import LabelledFilm, MaskKind, read_catalogue
from ptx_app.training.configuration import Configuration


def training_films(configuration: Configuration, data: Path) -> tuple[list[LabelledFilm], list[LabelledFilm]]:
    """The films of a prepared folder that a configuration trains on and those that it holds out, as `hold_out`."""
    section = configuration.data
    films = [film for film in read_catalogue(data) if film.split == "train"]
    return hold_out(films, section.held_out_positives, section.held_out_negatives, section.split_seed)


def hold_out(
    films: Sequence[LabelledFilm], positives: int, negatives: int, seed: int
) -> tuple[list[LabelledFilm], list[LabelledFilm]]:
    """Keep some expert-labelled films back from training, by patient.

    Whole patients are drawn, at random by `seed`, until both counts are reached. Only films of known patients are
    drawn, and every other film of a drawn patient leaves the training part too.

    Args:
        films: the training split.
        positives, negatives: how many expert-labelled films of each label to hold out, about: the last patient drawn
            may bring more.
        seed: of the draw.

    Returns:
        (films to train on, expert-labelled films held out).

    Raises:
        SettingsError: TOO_FEW_FILMS where there are not as many.
    """
    candidates = [film for film in films if film.mask_kind is MaskKind.EXPERT and film.patient]
    patients = sorted({film.group for film in candidates})
    random.Random(seed).shuffle(patients)  # noqa: S311  (a split, no secret)
    by_patient: dict[str, list[LabelledFilm]] = {patient: [] for patient in patients}
    for film in candidates:
        by_patient[film.group].append(film)
    wanted = {True: positives, False: negatives}
    held: list[LabelledFilm] = []
    for patient in patients:
        own = by_patient[patient]
        if any(wanted[film.positive] > 0 for film in own) and all(
            wanted[film.positive] > 0 or wanted[not film.positive] > 0 for film in own
        ):
            held += own
            for film in own:
                wanted[film.positive] -= 1
    if max(wanted.values()) > 0:
        raise SettingsError(
            "TOO_FEW_FILMS", "There are too few expert-labelled films to hold out so many. Ask for less."
        )
    drawn = {film.group for film in held}
    return [film for film in films if film.group not in drawn], held
