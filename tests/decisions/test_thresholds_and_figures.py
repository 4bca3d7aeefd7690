"""Choice of thresholds, the threshold at which overlap is measured, and the width of a 95 % interval."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ptx_app.data.index import LabelledFilm, MaskKind
from ptx_app.evaluation import metrics
from ptx_app.evaluation.known_films import PredictedFilm
from ptx_app.evaluation.manifest_figures import manifest_figures
from ptx_app.evaluation.metrics import bootstrap, dice, iou
from ptx_app.evaluation.results import film_by_film, results_of
from ptx_app.evaluation.thresholds import PublishingSection, best_outline, score_thresholds
from ptx_app.experiments.publishing import DEFAULT_POINT
from ptx_app.film.radiograph import View
from ptx_app.inference.decide import Thresholds
from ptx_app.inference.predict import Prediction
from ptx_app.model.manifest import Calibration, InputSpec, NetworkSpec, OperatingPoint, Weights
from ptx_app.training.validation import validate

NEGATIVE, POSITIVE = [0.1, 0.2, 0.3, 0.6], [0.4, 0.5, 0.8, 0.9]
SCORES = np.asarray(NEGATIVE + POSITIVE)
TRUTH = np.asarray([False] * 4 + [True] * 4)


def chosen(sensitivity: float, balanced: float, specificity: float) -> dict[str, float]:
    section = PublishingSection(sensitivity=sensitivity, balanced_specificity=balanced, specificity=specificity)
    return score_thresholds(SCORES, TRUTH, section)


@pytest.mark.parametrize(
    ("sensitivity", "threshold"), [(1.0, 0.35), (0.76, 0.35), (0.75, 0.45), (0.5, 0.7), (0.25, 0.85)]
)
def test_sensitive_is_the_highest_threshold_that_reaches_its_sensitivity(sensitivity, threshold):
    assert chosen(sensitivity, 0.9, 0.9)["sensitive"] == pytest.approx(threshold)


@pytest.mark.parametrize(
    ("specificity", "threshold"), [(1.0, 0.7), (0.76, 0.7), (0.75, 0.35), (0.5, 0.25), (0.25, 0.15)]
)
def test_specific_is_the_lowest_threshold_that_reaches_its_specificity(specificity, threshold):
    assert chosen(0.9, 0.5, specificity)["specific"] == pytest.approx(threshold)


def test_sensitive_flags_not_every_film_and_specific_flags_some():
    points = chosen(0.95, 0.95, 0.95)
    assert (SCORES[~TRUTH] < points["sensitive"]).mean() == 0.75
    assert (SCORES[TRUTH] >= points["specific"]).mean() == 0.5


@pytest.mark.parametrize(
    ("sensitivity", "balanced", "specificity", "threshold"),
    [(1.0, 0.75, 1.0, 0.35), (1.0, 0.76, 1.0, 0.7), (0.75, 0.5, 1.0, 0.45), (1.0, 1.0, 0.75, 0.35)],
    ids=["the lowest that reaches it", "just not", "no lower than sensitive", "no higher than specific"],
)
def test_balanced_is_the_lowest_threshold_that_reaches_its_specificity_between_the_others(
    sensitivity, balanced, specificity, threshold
):
    assert chosen(sensitivity, balanced, specificity)["balanced"] == pytest.approx(threshold)


def test_nine_of_ten_negative_films_pass_at_the_default_point():
    assert DEFAULT_POINT == "balanced"
    assert PublishingSection().balanced_specificity == 0.9


def test_what_is_asked_for_unless_a_configuration_says_otherwise():
    assert PublishingSection().model_dump() == {
        "flip_averaging": False,
        "mask_evidence": False,
        "prevalence": 0.22,
        "sensitivity": 0.95,
        "balanced_specificity": 0.9,
        "specificity": 0.97,
    }
    with pytest.raises(ValidationError):
        PublishingSection().prevalence = 0.5


@pytest.mark.parametrize("name", ["prevalence", "sensitivity", "balanced_specificity", "specificity"])
def test_a_share_to_reach_is_above_zero_and_at_most_one_and_a_prevalence_below_one(name):
    assert getattr(PublishingSection(**{name: 0.01}), name) == 0.01
    for wrong in (0, -0.01, 1.01, *([1] if name == "prevalence" else [])):
        with pytest.raises(ValidationError):
            PublishingSection(**{name: wrong})
    if name != "prevalence":
        assert getattr(PublishingSection(**{name: 1}), name) == 1


@pytest.mark.parametrize("highest", [0.8, 1.0])
def test_thresholds_may_flag_every_film_or_hardly_any(highest):
    # The lowest score is of a positive film, the highest of a negative one.
    section = PublishingSection(sensitivity=1.0, balanced_specificity=0.5, specificity=1.0)
    points = score_thresholds(np.asarray([0.2, 0.4, 0.6, highest]), np.asarray([True, False, True, False]), section)
    assert points == {"sensitive": 0.0, "balanced": 0.5, "specific": 1.0}


@pytest.mark.parametrize(
    ("below", "above", "threshold"),
    [(0.12345, 0.22222, 0.1728), (0.5, 0.50004, 0.50002), (0.49996, 0.5, 0.5), (1e-20, 3e-20, 3e-20)],
    ids=["four decimals", "more if needed", "the upper score itself", "too small for decimals"],
)
def test_a_threshold_is_halfway_between_two_films_with_few_decimals(below, above, threshold):
    points = score_thresholds(np.asarray([below, above]), np.asarray([False, True]), PublishingSection())
    assert set(points.values()) == {threshold}


UNCALIBRATED = Calibration(temperature=1.0, bias=0.0)
SPEC = InputSpec(side=32, fit="stretch", interpolation="area", channels=3, mean=0.5, std=0.5)
HALO, THRESHOLD, WHOLE = 0.35, 0.6, 0.65  # probabilities; a threshold of 0.3 would include the halo


def haloed(number: int) -> PredictedFilm:
    """A positive film of 32 x 32 px with a correct outline at THRESHOLD, and one four times too large at half of it."""
    truth, probability = np.zeros((32, 32), np.bool_), np.zeros((32, 32), np.float32)
    probability[:10, :10], probability[:5, :5], truth[:5, :5] = HALO, WHOLE, True
    return PredictedFilm(
        name=f"film-{number}",
        group=f"patient-{number}",
        positive=True,
        view=View.PA,
        truth=truth,
        prediction=Prediction(score=0.9, probability=probability, logit=3.0),
    )


def at(threshold: float) -> Weights:
    """Weights with one operating point, which flags every film, at this mask threshold."""
    point = OperatingPoint(name="only", score=0.0, mask_threshold=threshold, smallest_region=0.0)
    return Weights(
        name="tiny",
        title="A tiny network",
        network=NetworkSpec(architecture="Unet", encoder="mobilenet_v2"),
        input=SPEC,
        flip_averaging=False,
        bytes=1,
        sha256="0" * 64,
        sources=(),
        calibration=UNCALIBRATED,
        operating_points=(point,),
        default_operating_point="only",
        provenance="Made.",
        terms="None.",
        figures={},
    )


@pytest.mark.parametrize(("threshold", "overlap"), [(THRESHOLD, 1.0), (THRESHOLD / 2, 2 * 25 / 125), (0.66, 0.0)])
def test_overlap_is_measured_at_the_mask_threshold_and_no_other(threshold, overlap):
    films = [haloed(number) for number in range(2)]
    results = results_of(films, at(threshold))
    assert results.dice == pytest.approx(overlap)
    assert results.iou == pytest.approx(overlap / (2 - overlap))
    assert results.points["only"].dice == pytest.approx(overlap)
    figures = manifest_figures(films, UNCALIBRATED, Thresholds(0.0, threshold, 0.0))
    assert figures["dice_positive"] == pytest.approx(overlap)


def test_a_pixel_at_the_mask_threshold_counts():
    assert results_of([haloed(1)], at(WHOLE)).dice == pytest.approx(1.0)


def test_of_equally_good_values_the_highest_is_chosen():
    # Every threshold above the halo, 0.35, and up to 0.65 gives the correct outline. No region is smaller than 0.005.
    assert best_outline([haloed(number) for number in range(2)]) == (0.65, 0.005, 0.6, 0.3)


def test_of_values_about_as_good_the_highest_is_chosen_and_of_worse_ones_none():
    # One more row at a lower threshold: above 0.6 the Dice is 2 * 25 / 55 if the truth has that row, else 1.
    film = haloed(1)
    film.prediction.probability[5, :5] = 0.6
    film.truth[5, :5] = True
    assert best_outline([film])[0] == 0.6
    film.truth[5, 1:5] = False
    assert best_outline([film])[0] == 0.65


def test_overlap_of_unequal_masks_by_hand():
    predicted, truth = np.asarray([True, True, True, False]), np.asarray([True, False, False, True])
    assert dice(predicted, truth) == pytest.approx(2 / 5)
    assert iou(predicted, truth) == pytest.approx(1 / 4)


class Answering(torch.nn.Module):
    """A network with the same output for every film: the logits of HALO and WHOLE."""

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        probability = torch.as_tensor(haloed(0).prediction.probability).clamp(min=1e-4)
        return torch.logit(probability).expand(len(batch), 1, 32, 32), torch.zeros(len(batch), 1)


class Films:
    """A store of uniform grey films of the size of the network's square, with the truth of `haloed`."""

    def film(self, _film: LabelledFilm) -> np.ndarray:
        return np.full((32, 32), 128, np.uint8)

    def mask(self, film: LabelledFilm) -> np.ndarray:
        return haloed(0).truth.astype(np.uint8) * film.positive


def test_validation_takes_the_best_of_its_mask_thresholds():
    kinds = {
        "split": "train",
        "mask_kind": MaskKind.EXPERT,
        "patient": None,
        "view": View.PA,
        "image": None,
        "mask": None,
    }
    films = [LabelledFilm(image_id=str(label), positive=label, **kinds) for label in (True, False)]
    found = validate(Answering(), films, Films(), SPEC, torch.device("cpu"), None)
    assert (found.mask_threshold, found.dice, found.iou, found.auc) == (0.4, 1.0, 1.0, 0.5)


VALUES = np.linspace(-1, 1, 100)
DEVIATION = VALUES.std() / np.sqrt(len(VALUES))  # standard error of the mean


def test_an_interval_of_95_percent_lies_two_deviations_from_the_mean():
    low, high = bootstrap(lambda chosen: float(VALUES[chosen].mean()), list(map(str, range(100))), draws=4000)
    assert low / DEVIATION == pytest.approx(-1.96, abs=0.12)  # for 90 % it would be -1.64, for 99 % -2.58
    assert high / DEVIATION == pytest.approx(1.96, abs=0.12)


def test_an_interval_is_of_patients_with_all_their_films():
    pairs = [str(number // 2) for number in range(100)]
    of_pairs = np.repeat(np.linspace(-1, 1, 50), 2)
    low, high = bootstrap(lambda chosen: float(of_pairs[chosen].mean()), pairs, draws=4000)
    deviation = of_pairs.std() / np.sqrt(50)  # fifty patients, not a hundred films
    assert low / deviation == pytest.approx(-1.96, abs=0.12)
    assert high / deviation == pytest.approx(1.96, abs=0.12)


def test_an_interval_is_of_a_thousand_draws():
    drawn = []
    bootstrap(lambda chosen: float(len(drawn.append(chosen) or chosen)), ["a", "b"])
    assert len(drawn) == 1000


def test_films_whose_verdict_changes_are_counted_by_truth_and_direction(monkeypatch):
    monkeypatch.setattr(metrics, "BOOTSTRAP_DRAWS", 20)  # the counts have no interval
    # Each way a film can go, another number of times: (positive, flagged now, flagged before).
    ways = {
        (True, True, False): 1, (True, False, True): 2, (False, False, True): 3, (False, True, False): 4,
        (True, True, True): 5, (True, False, False): 6, (False, True, True): 7, (False, False, False): 8,
    }  # fmt: skip
    each = [way for way, count in ways.items() for _ in range(count)]

    def predicted(column: int, flagged: float) -> list[PredictedFilm]:
        made = []
        for number, way in enumerate(each):
            film = replace(haloed(number), positive=way[0], truth=haloed(number).truth & way[0])
            made.append(replace(film, prediction=replace(film.prediction, logit=flagged if way[column] else -3.0)))
        return made

    weights = at(THRESHOLD)
    points = (weights.operating_points[0].model_copy(update={"score": 0.5}),)
    weights = weights.model_copy(update={"operating_points": points})
    # Now a flagged film has just the threshold's score, 0.5; before it had a higher one.
    now, before = results_of(predicted(1, 0.0), weights), results_of(predicted(2, 3.0), weights)
    counted = film_by_film(now, weights, before, weights)
    assert [counted[name] for name in ("found_now", "missed_now", "spared_now", "flagged_now")] == [1, 2, 3, 4]
