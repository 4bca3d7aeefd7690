"""Films made harder: each strength is harder than the one before, in the direction that its name says."""

import numpy as np
import pytest

from ptx_app.evaluation.hard_cases import CASES, harder
from ptx_app.evaluation.known_films import KnownFilm
from ptx_app.film.radiograph import View

ROWS, COLUMNS = np.mgrid[0:200, 0:200]
FILM = KnownFilm(
    name="made",
    group="made",
    positive=True,
    view=View.PA,
    pixels=(0.25 + 0.5 * (np.sin(ROWS / 9) * np.sin(COLUMNS / 7) > 0)).astype(np.float32),  # squares, dark and bright
    truth=np.ones((200, 200), np.bool_),
)


def change(case: str, strength: float) -> float:
    """Mean change in the film's middle; for a cropped film, the share that was cut off."""
    (changed,) = harder([FILM], case, strength)
    if changed.pixels.shape != FILM.pixels.shape:
        return 1 - changed.pixels.size / FILM.pixels.size
    return float(np.abs(changed.pixels - FILM.pixels)[80:120, 80:120].mean())


@pytest.mark.parametrize("case", CASES)
def test_each_strength_is_harder_than_the_one_before(case):
    weak, middle, strong = (change(case, strength) for strength in CASES[case][0])
    assert 0 < weak < middle < strong


@pytest.mark.parametrize(("case", "darker"), [("under-exposed (gamma)", True), ("over-exposed (gamma)", False)])
def test_exposure_goes_to_the_side_of_its_name(case, darker):
    for strength in CASES[case][0]:
        (changed,) = harder([FILM], case, strength)
        assert (changed.pixels < FILM.pixels).all() if darker else (changed.pixels > FILM.pixels).all()


def test_the_truth_goes_with_the_film():
    lying = np.zeros((200, 200), np.bool_)
    lying[90:110, 20:180] = True
    film = KnownFilm("made", "made", True, View.PA, lying.astype(np.float32), lying)
    for case in ("cropped (share of each edge)", "turned (degrees)"):
        for changed in (next(harder([film], case, strength)) for strength in CASES[case][0]):
            overlap = (changed.truth & (changed.pixels > 0.5)).sum() / (changed.truth | (changed.pixels > 0.5)).sum()
            assert overlap > 0.95
