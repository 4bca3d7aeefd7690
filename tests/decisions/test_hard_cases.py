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


def made(pixels: np.ndarray, name: str = "made") -> KnownFilm:
    return KnownFilm(name, "made", True, View.PA, pixels.astype(np.float32), np.zeros(pixels.shape, np.bool_))


def strengths(case: str, film: KnownFilm) -> list[np.ndarray]:
    """The film's pixels at each of the case's three strengths."""
    return [next(harder([film], case, strength)).pixels for strength in CASES[case][0]]


GREY = made(np.full((40, 40), 0.5))


@pytest.mark.parametrize(
    ("case", "greys"),
    [("under-exposed (gamma)", (0.379, 0.25, 0.125)), ("over-exposed (gamma)", (0.616, 0.707, 0.796))],
)
def test_what_exposure_makes_of_a_middle_grey(case, greys):
    assert [pixels.mean() for pixels in strengths(case, GREY)] == pytest.approx(greys, abs=0.001)


def test_low_contrast_leaves_a_part_of_the_greys_around_the_middle():
    found = strengths("low contrast (factor)", made(np.linspace(0, 1, 1600).reshape(40, 40)))
    ranges = [(0.2, 0.8), (0.3, 0.7), (0.4, 0.6)]
    assert [(pixels.min(), pixels.max()) for pixels in found] == [pytest.approx(each, abs=1e-6) for each in ranges]


def test_noise_has_its_deviation_around_the_films_greys_and_ends_at_black_and_white():
    found = strengths("noisy (standard deviation)", made(np.full((200, 200), 0.5)))
    assert [pixels.std() for pixels in found] == pytest.approx([0.03, 0.06, 0.12], rel=0.02)
    assert [pixels.mean() for pixels in found] == pytest.approx([0.5] * 3, abs=0.002)
    halves = made(np.repeat([0.0, 1.0], 800).reshape(40, 40))
    for pixels in strengths("noisy (standard deviation)", halves):
        assert (pixels.min(), pixels.max()) == (0, 1)


def test_the_noise_of_a_film_is_its_own_and_always_the_same():
    first, again, other = (strengths("noisy (standard deviation)", made(GREY.pixels, name))[0] for name in "aab")
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_blur_is_as_wide_as_its_share_of_the_height():
    film = made(np.repeat([[0.0] * 100 + [1.0] * 100], 1000, axis=0))  # an edge, 1000 px high
    steepest = [np.diff(pixels[500]).max() for pixels in strengths("blurred (sigma, share of the height)", film)]
    assert steepest == pytest.approx([1 / (sigma * np.sqrt(2 * np.pi)) for sigma in (2, 5, 10)], rel=0.02)


def test_each_edge_loses_its_share():
    film = made(np.random.default_rng(1).random((100, 200)))
    for (top, left), pixels in zip(
        ((3, 6), (6, 12), (12, 24)), strengths("cropped (share of each edge)", film), strict=True
    ):
        assert np.array_equal(pixels, film.pixels[top : 100 - top, left : 200 - left])


def test_a_film_is_turned_about_its_middle_by_its_angle():
    # A spot in the middle and one to its right, far from the edges; the sides are even and unequal.
    rows, columns = np.mgrid[:120, :200]

    def spot(across: float) -> np.ndarray:
        return np.exp(-((rows - 59.5) ** 2 + (columns - across) ** 2) / 50)

    def place(pixels: np.ndarray) -> tuple[float, float]:
        return (rows * pixels).sum() / pixels.sum(), (columns * pixels).sum() / pixels.sum()

    case = "turned (degrees)"
    middles, beside = (list(map(place, strengths(case, made(spot(across))))) for across in (99.5, 149.5))
    assert middles == [pytest.approx((59.5, 99.5), abs=0.02)] * 3
    for degrees, (row, column) in zip((4, 8, 15), beside, strict=True):
        angle = np.deg2rad(degrees)
        assert (row, column) == pytest.approx((59.5 - 50 * np.sin(angle), 99.5 + 50 * np.cos(angle)), abs=0.05)
