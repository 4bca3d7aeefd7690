"""If a patient is held out, none of their films is used for training; films of other patients are."""

from pathlib import Path

import pytest

from ptx_app.data.index import LabelledFilm, MaskKind
from ptx_app.data.split import hold_out
from ptx_app.film.radiograph import View

KINDS = tuple(MaskKind)


def film(patient: str | None, kind: MaskKind, positive: bool) -> LabelledFilm:
    name = f"{patient}-{kind}"
    mask = Path(f"{name}-mask.png") if positive and kind is not MaskKind.IMAGE_LABEL else None
    return LabelledFilm(
        image_id=name,
        split="train",
        positive=positive,
        mask_kind=kind,
        patient=patient,
        view=View.PA,
        image=Path(f"{name}.png"),
        mask=mask,
    )


@pytest.fixture(scope="module")
def parts() -> tuple[list[LabelledFilm], list[LabelledFilm], list[LabelledFilm]]:
    """Eight patients with one film of each mask kind. Half are positive. Two positive and two negative are held out."""
    films = [film(f"patient-{number}", kind, number % 2 == 0) for number in range(8) for kind in KINDS]
    return (films, *hold_out(films, positives=2, negatives=2, seed=3, most_a_patient=len(KINDS)))


@pytest.mark.parametrize("kind", KINDS)
def test_no_film_of_a_patient_held_out_trains_whatever_its_mask_kind(parts, kind):
    _, trained, held = parts
    patients = {film.patient for film in held}
    assert len(patients) == 4
    assert not [film.image_id for film in trained if film.patient in patients and film.mask_kind is kind]


@pytest.mark.parametrize("kind", KINDS)
def test_every_film_of_the_other_patients_trains_whatever_its_mask_kind(parts, kind):
    films, trained, held = parts
    others = {film.patient for film in films} - {film.patient for film in held}
    assert len(others) == 4
    assert {film.patient for film in trained if film.mask_kind is kind} == others


def test_only_expert_labelled_films_are_held_out(parts):
    _, _, held = parts
    assert {film.mask_kind for film in held} == {MaskKind.EXPERT}


def test_films_of_nobody_known_train_where_some_patients_are_known():
    known = [film(f"patient-{number}", MaskKind.EXPERT, number % 2 == 0) for number in range(4)]
    unknown = [film(None, kind, positive=False) for kind in KINDS]
    trained, held = hold_out([*known, *unknown], positives=2, negatives=2, seed=3)
    assert held == known
    assert trained == unknown
