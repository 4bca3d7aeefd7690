"""Losses and metrics against values computed by hand or by others, and thresholds chosen on held-out films."""

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ptx_app.data.challenge import decode_run_lengths, is_positive, read_run_lengths
from ptx_app.errors import SettingsError
from ptx_app.evaluation import metrics
from ptx_app.evaluation.known_films import PredictedFilm
from ptx_app.evaluation.manifest_figures import manifest_figures
from ptx_app.evaluation.thresholds import (
    MASK_THRESHOLDS,
    PublishingSection,
    best_outline,
    choose,
    fit_calibration,
    score_thresholds,
)
from ptx_app.film.radiograph import View
from ptx_app.inference.decide import Thresholds
from ptx_app.inference.predict import Prediction
from ptx_app.model.manifest import UNCALIBRATED
from ptx_app.training import losses
from ptx_app.training.configuration import LossSection
from ptx_app.training.losses import MASK_LOSSES, total_loss

SURE = 20.0  # a logit


def square(side: int = 8) -> torch.Tensor:
    truth = torch.zeros(1, 1, side, side)
    truth[..., 2:6, 2:6] = 1
    return truth


def test_a_configuration_can_name_every_loss_and_no_other():
    assert set(get_args(LossSection.model_fields["mask"].annotation)) == set(MASK_LOSSES)


@pytest.mark.parametrize("name", MASK_LOSSES)
def test_the_weight_of_cross_entropy_weighs_it_alone(name):
    logits, truth = torch.randn(2, 1, 8, 8), (torch.rand(2, 1, 8, 8) > 0.7).float()
    once, ten = MASK_LOSSES[name](logits, truth), MASK_LOSSES[name](logits, truth, bce=10)
    assert torch.allclose(ten - once, 9 * losses.bce_loss(logits, truth), atol=1e-5)


@pytest.mark.parametrize("name", MASK_LOSSES)
def test_a_perfect_mask_costs_nothing_and_a_missed_one_much(name):
    truth = square()
    perfect = MASK_LOSSES[name]((truth * 2 - 1) * SURE, truth)
    missed = MASK_LOSSES[name](torch.full_like(truth, -SURE), truth)
    assert perfect.shape == (1,)
    assert float(perfect) == pytest.approx(0, abs=1e-3)
    assert float(missed) > 1


@pytest.mark.parametrize("name", MASK_LOSSES)
def test_empty_films_are_finite_and_pull_the_mask_down(name):
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    loss = MASK_LOSSES[name](logits, torch.zeros(1, 1, 8, 8))
    loss.sum().backward()
    assert float(loss.detach()) == pytest.approx(np.log(2), abs=1e-5)  # the cross-entropy alone
    assert (logits.grad > 0).all()


def test_known_values():
    truth, undecided = square(), torch.zeros(1, 1, 8, 8)
    assert float(losses.dice_loss(undecided, truth)) == pytest.approx(1 - (2 * 8 + 1) / (32 + 16 + 1))
    index = (8 + 1) / (8 + 0.7 * 8 + 0.3 * 24 + 1)
    assert float(losses.focal_tversky_loss(undecided, truth)) == pytest.approx((1 - index) ** 0.75)


def test_a_film_without_a_known_mask_trains_the_image_level_head_only():
    mask_logits, image_logits = torch.zeros(2, 1, 8, 8, requires_grad=True), torch.zeros(2, 1, requires_grad=True)
    mask = torch.cat([square(), torch.zeros(1, 1, 8, 8)])
    loss = total_loss(
        MASK_LOSSES["bce+dice"], 0.5, mask_logits, image_logits, mask, torch.tensor([1.0, 0.0]), torch.ones(2)
    )
    loss.backward()
    assert mask_logits.grad[0].abs().sum() > 0
    assert mask_logits.grad[1].abs().sum() == 0
    assert (image_logits.grad != 0).all()


def test_the_weight_of_a_mask_scales_its_loss():
    arguments = (torch.zeros(1, 1, 8, 8), torch.zeros(1, 1), square())
    whole, half = (
        total_loss(MASK_LOSSES["bce"], 0.0, *arguments, torch.tensor([weight]), torch.ones(1)) for weight in (1.0, 0.5)
    )
    assert float(half) == pytest.approx(float(whole) / 2)


def test_overlap_of_masks():
    a, b, none = np.zeros((4, 4), bool), np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    a[:2], b[1:3] = True, True
    assert metrics.dice(a, b) == pytest.approx(0.5)
    assert metrics.iou(a, b) == pytest.approx(1 / 3)
    assert metrics.dice(none, none) == metrics.iou(none, none) == 1
    assert metrics.dice(a, none) == metrics.iou(a, none) == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40))
def test_auc_is_the_share_of_pairs_in_the_right_order_with_ties_as_half(pairs):
    score, positive = np.asarray([s / 6 for s, _ in pairs]), np.asarray([p for _, p in pairs])
    above = score[positive][:, None] - score[~positive][None]
    if not above.size:
        assert np.isnan(metrics.auc(score, positive))
    else:
        assert metrics.auc(score, positive) == pytest.approx(((above > 0) + (above == 0) / 2).mean())
        assert metrics.brier(score, positive) == pytest.approx(((score - positive) ** 2).mean())


def test_rates_and_calibration_by_hand():
    score, positive = np.asarray([0.1, 0.4, 0.4, 0.9]), np.asarray([False, False, True, True])
    assert metrics.sensitivity(score, positive, 0.4) == 1
    assert metrics.sensitivity(score, positive, 0.5) == 0.5
    assert metrics.specificity(score, positive, 0.4) == 0.5
    assert metrics.brier(score, positive) == pytest.approx((0.01 + 0.16 + 0.36 + 0.01) / 4)
    assert np.isnan(metrics.brier(score[:0], positive[:0]))
    assert metrics.calibration_error(score, positive) == pytest.approx((0.1 + 0.2 + 0.1) / 4)


@pytest.mark.parametrize(
    ("negative", "positive", "together"),
    [
        (0.01, 0.09, True),
        (0.09, 0.11, False),
        (0.11, 0.19, True),
        (0.19, 0.21, False),
        (0.89, 0.91, False),
        (1.0, 0.91, True),
    ],
)
def test_calibration_is_measured_in_ten_bins_of_equal_width(negative, positive, together):
    off = negative, positive - 1  # how far each score is from the truth
    error = abs(sum(off)) if together else sum(map(abs, off))
    found = metrics.calibration_error(np.asarray([negative, positive]), np.asarray([False, True]))
    assert found == pytest.approx(error / 2)


def test_sensitivity_at_a_specificity_is_the_best_that_any_threshold_gives():
    score = np.asarray([0.1, 0.2, 0.3, 0.4, 0.35, 0.4, 0.9])
    positive = np.asarray([False] * 4 + [True] * 3)
    assert metrics.sensitivity_at_specificity(score, positive, 0.75) == 1  # above 0.3
    assert metrics.sensitivity_at_specificity(score, positive, 0.76) == pytest.approx(1 / 3)  # above 0.4, a tie
    assert metrics.sensitivity_at_specificity(score, positive, 0.0) == 1
    assert np.isnan(metrics.sensitivity_at_specificity(score, np.zeros(7, bool), 0.9))
    assert np.isnan(metrics.sensitivity_at_specificity(score, np.ones(7, bool), 0.9))


@pytest.mark.parametrize("wanted", [0.55, 0.92])  # as floats, 0.55 * 100 is a little more than 55
def test_a_specificity_that_is_just_reached_is_reached(wanted):
    score = np.asarray([*range(100), wanted * 100 - 1.5, wanted * 100 - 0.5])  # a hundred negative films, two positive
    positive = np.arange(102) >= 100
    assert metrics.sensitivity_at_specificity(score, positive, wanted) == 0.5
    assert (metrics.sensitivity_at_specificity(score, positive) == 0.5) == (wanted == 0.92)  # if no other is asked for


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40), st.floats(0, 1))
def test_sensitivity_at_a_specificity_against_all_thresholds(pairs, wanted):
    score, positive = np.asarray([s / 6 for s, _ in pairs]), np.asarray([p for _, p in pairs])
    if positive.all() or not positive.any():
        return
    rates = [(metrics.specificity(score, positive, t), metrics.sensitivity(score, positive, t)) for t in (*score, 2.0)]
    negatives = int((~positive).sum())
    best = max(found for spared, found in rates if round(spared * negatives) >= wanted * negatives - 1e-9)
    assert metrics.sensitivity_at_specificity(score, positive, wanted) == pytest.approx(best)


NINE_OF_TEN = PublishingSection(sensitivity=0.9, balanced_specificity=0.9, specificity=0.9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=4, max_size=12, unique=True), st.integers(1, 3))
@example([0.0, 5e-324, 0.5, 1.0], 3)  # nothing lies between the first two
def test_rounding_moves_no_film_to_the_wrong_side_of_a_threshold(scores, positives):
    score = np.sort(np.asarray(scores))
    positive = np.arange(len(score)) >= len(score) - positives  # the surest ones
    chosen = score_thresholds(score, positive, NINE_OF_TEN)
    assert all(0 <= threshold <= 1 for threshold in chosen.values())
    assert metrics.sensitivity(score, positive, chosen["sensitive"]) == 1
    assert metrics.sensitivity(score, positive, chosen["balanced"]) == 1
    assert metrics.specificity(score, positive, chosen["specific"]) >= 0.9


def test_the_bootstrap_draws_patients_not_films():
    value = np.asarray([0.0] * 50 + [1.0] * 50)
    alone, together = (
        metrics.bootstrap(lambda chosen: float(value[chosen].mean()), groups, draws=300)
        for groups in ([str(film) for film in range(100)], [str(film // 25) for film in range(100)])
    )
    assert alone[0] < 0.5 < alone[1]
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_every_patient_is_as_likely_to_be_drawn_and_each_draw_has_as_many_as_there_are():
    drawn = []
    metrics.bootstrap(lambda chosen: float(len(drawn.append(chosen) or chosen)), ["b", "a", "c"], draws=900)
    assert {len(chosen) for chosen in drawn} == {3}
    assert np.bincount(np.concatenate(drawn)) / 2700 == pytest.approx([1 / 3] * 3, abs=0.03)


def test_draws_that_give_no_number_are_left_out():
    # A quarter of the draws have only the first patient's film, for which there is no number; half have both.
    found = metrics.bootstrap(lambda chosen: float(chosen.mean()) if chosen.any() else float("nan"), ["a", "b"])
    assert found == (0.5, 1.0)
    assert np.isnan(metrics.bootstrap(lambda _: float("nan"), ["a", "b"])).all()


def test_an_interval_is_the_same_each_time():
    def drawn(**seed):
        return metrics.bootstrap(lambda chosen: float(chosen.mean()), [str(film) for film in range(50)], **seed)

    assert drawn() == drawn(seed=1) != drawn(seed=2)


@pytest.mark.parametrize(
    ("hits", "tries", "expected"), [(9, 10, (0.5958, 0.9821)), (0, 10, (0.0, 0.2775)), (0, 0, (0.0, 1.0))]
)
def test_wilsons_interval_of_a_share(hits, tries, expected):
    assert metrics.wilson(hits, tries) == expected


def encoded(mask: np.ndarray) -> str:
    """The challenge's encoding: down the columns, each skip counted from the end of the run before."""
    flat = np.flatnonzero(np.diff(np.concatenate([[0], mask.T.ravel().astype(int), [0]])))
    return " ".join(map(str, np.diff(np.concatenate([[0], flat]))))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_run_lengths_come_back(height, width, data):
    masks = [
        np.asarray(data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width)))
        for _ in range(2)
    ]
    masks = [mask.reshape(height, width) for mask in masks]
    rows = [encoded(mask) or "-1" for mask in masks]
    assert (decode_run_lengths(rows, (height, width)) == (masks[0] | masks[1])).all()
    assert is_positive(rows) == any(mask.any() for mask in masks)


@pytest.mark.parametrize("row", ["1", "0 99", "-3 2", "one 2", ""])
def test_wrong_run_lengths_are_refused(row):
    with pytest.raises(SettingsError) as error:
        decode_run_lengths([row], (3, 3))
    assert error.value.code == "RUN_LENGTHS_INVALID"


def test_the_table_of_run_lengths_may_have_blanks_and_several_rows_a_film(tmp_path):
    table = tmp_path / "train-rle.csv"
    table.write_text("ImageId, EncodedPixels\na, 1 2\na, 5 1\nb, -1\n")
    assert read_run_lengths(table) == {"a": ["1 2", "5 1"], "b": ["-1"]}
    table.write_text("other\nthing\n")
    with pytest.raises(SettingsError):
        read_run_lengths(table)


def test_the_calibration_finds_what_the_scores_were_made_with():
    chance = np.random.default_rng(1)
    truth = chance.normal(-1, 2, 20000)
    positive = chance.random(20000) < 1 / (1 + np.exp(-truth))
    evidence = chance.normal(0, 1, 20000)
    found = fit_calibration((truth - 0.7 - 0.4 * evidence) * 3, evidence, positive, float(positive.mean()))
    assert found.temperature == pytest.approx(3, rel=0.05)
    assert found.bias == pytest.approx(0.7, abs=0.05)
    assert found.mask_weight == pytest.approx(0.4, abs=0.05)
    numbers = found.temperature, found.bias, found.mask_weight
    assert [round(number, 4) for number in numbers] == list(numbers)
    assert all(round(number, 3) != number for number in numbers)


def test_the_calibration_is_for_the_requested_prevalence():
    chance = np.random.default_rng(2)
    positive = np.arange(4000) < 3000
    logits = chance.normal(np.where(positive, 1, -1), 1)
    calibration = fit_calibration(logits, np.zeros(4000), positive, 0.2)
    scores = 1 / (1 + np.exp(-(logits / calibration.temperature + calibration.bias)))
    assert 0.2 * scores[positive].mean() + 0.8 * scores[~positive].mean() == pytest.approx(0.2, abs=0.01)


def test_separable_scores_keep_a_temperature_above_zero():
    found = fit_calibration(np.asarray([-1.0, 1.0]), np.asarray([-2.0, 2.0]), np.asarray([False, True]), 0.5)
    assert found.temperature > 0
    assert np.isfinite([found.bias, found.mask_weight]).all()


@pytest.mark.parametrize(
    ("logit", "evidence", "name", "limit"),
    [(1, 0, "temperature", 0.05), (-1, 0, "temperature", 20), (0, 1, "mask_weight", 20)],
    ids=["steepest", "flattest", "heaviest"],
)
def test_a_fit_ends_at_its_limits(logit, evidence, name, limit):
    sign = np.asarray([-0.01, 0.01])  # a film without and one with a pneumothorax, nearly alike
    found = fit_calibration(logit * sign, evidence * sign, np.asarray([False, True]), 0.5)
    assert getattr(found, name) == limit


def test_a_mask_that_contradicts_the_label_has_weight_zero():
    positive = np.arange(100) < 50
    found = fit_calibration(np.where(positive, 1.0, -1.0), np.where(positive, -1.0, 1.0), positive, 0.5)
    assert found.mask_weight == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=4, max_size=60))
def test_operating_points_reach_their_targets(pairs):
    scores, positive = np.asarray([s / 20 for s, _ in pairs]), np.asarray([p for _, p in pairs])
    if positive.all() or not positive.any():
        return
    points = score_thresholds(scores, positive, NINE_OF_TEN)
    assert (scores[positive] >= points["sensitive"]).mean() >= 0.9
    assert (scores[~positive] < points["specific"]).mean() >= 0.9 or (scores == 1).any()
    low, high = sorted((points["sensitive"], points["specific"]))
    assert low <= points["balanced"] <= high


def predicted(number: int, positive: bool, logit: float, height: float = 0.7, speck: bool = False) -> PredictedFilm:
    """A film whose map is right only above the threshold `height`, with a wrong halo below it."""
    truth, probability = np.zeros((64, 64), bool), np.zeros((64, 64), np.float32)
    if positive:
        truth[20:40, 20:40] = True
        probability[12:48, 12:48] = height - 0.2
        probability[20:40, 20:40] = height
    if speck:
        probability[0:2, 0:2] = 1
    return PredictedFilm(f"film-{number}", f"p{number}", positive, View.PA, truth, Prediction(0.0, probability, logit))


def test_the_mask_threshold_has_the_best_overlap_and_specks_are_dropped():
    mask_threshold, smallest, *_ = best_outline([predicted(number, True, 2.0, speck=True) for number in range(3)])
    assert mask_threshold in MASK_THRESHOLDS
    assert 0.5 < mask_threshold <= 0.7
    assert smallest > 4 / 64**2


def test_faint_regions_are_dropped_if_the_true_ones_have_a_surer_pixel():
    films = [predicted(number, True, 2.0) for number in range(3)]
    for film in films:
        film.prediction.probability[:8, :8] = 0.69  # as large as a true region may be, and nearly as sure
        film.prediction.probability[25, 25] = 0.95
    assert best_outline(films)[2] == 0.9


@pytest.mark.parametrize(("side", "relative"), [(5, 0.3), (7, 0.1), (9, 0.2)])
def test_regions_much_smaller_than_the_largest_are_dropped_unless_they_are_true(side, relative):
    # The true regions have 400 px, and side × side px beside them that is as sure: true but for 5 × 5 px.
    films = [predicted(number, True, 2.0) for number in range(3)]
    for film in films:
        film.prediction.probability[50 : 50 + side, 50 : 50 + side] = 0.7
        film.truth[50 : 50 + side, 50 : 50 + side] = side > 5
    assert best_outline(films)[3] == relative


def film_with(*parts: tuple[int, float, bool]) -> PredictedFilm:
    """A positive film of 100 × 100 px. Each part is a region: its px, their probability, and whether it is true."""
    truth, probability, row = np.zeros((100, 100), bool), np.zeros((100, 100), np.float32), 0
    for count, likely, true in parts:
        end = row + -(-count // 100)
        probability[row:end].flat[:count], truth[row:end].flat[:count] = likely, true
        row = end + 1
    return PredictedFilm("film", "patient", True, View.PA, truth, Prediction(0.0, probability, 0.0))


@pytest.mark.parametrize(
    ("likely", "chosen"), [(0.1, 0.1), (0.14, 0.1), (0.15, 0.15), (0.5, 0.5), (0.89, 0.85), (0.9, 0.9), (0.99, 0.9)]
)
def test_mask_thresholds_go_from_a_tenth_to_nine_tenths_by_twentieths(likely, chosen):
    assert best_outline([film_with((400, likely, True))])[0] == chosen


@pytest.mark.parametrize(
    ("pixels", "chosen"),
    [(1, 0.0), (2, 0.0002), (4, 0.0002), (5, 0.0005), (9, 0.0005), (10, 0.001), (19, 0.001), (20, 0.002), (49, 0.002),
     (50, 0.005), (900, 0.005)],
)  # fmt: skip
def test_the_smallest_region_is_the_largest_of_six_that_keeps_the_true_one(pixels, chosen):
    assert best_outline([film_with((pixels, 0.9, True))])[1] == chosen


@pytest.mark.parametrize("tenths", range(1, 10))
def test_the_surest_pixel_is_the_highest_tenth_that_keeps_the_true_region(tenths):
    assert best_outline([film_with((400, tenths / 10 + 0.05, True))])[2] == tenths / 10


@pytest.mark.parametrize(
    ("pixels", "chosen"),
    [(19, 0.0), (20, 0.05), (39, 0.05), (40, 0.1), (60, 0.15), (80, 0.2), (100, 0.25), (119, 0.25), (120, 0.3),
     (399, 0.3)],
)  # fmt: skip
def test_the_smallest_relative_region_is_the_largest_twentieth_that_keeps_the_true_one(pixels, chosen):
    assert best_outline([film_with((400, 0.9, True), (pixels, 0.9, True))])[3] == chosen


@pytest.mark.parametrize(("lost", "enough"), [(2, True), (3, False)])
def test_half_a_percent_of_dice_is_given_for_stricter_thresholds_and_no_more(lost, enough):
    # Of 201 px without 2 the Dice is 2 × 199 / (201 + 199) = 0.995; of 202 without 3 it is 0.9925.
    assert best_outline([film_with((199, 0.9, True), (lost, 0.6, True))])[0] == (0.9 if enough else 0.6)
    assert best_outline([film_with((199, 0.9, True), (lost, 0.9, True))])[1] == (0.005 if enough else 0.0002)


@pytest.mark.parametrize(("sensitivity", "chosen"), [(1.0, 0.9), (0.3, 0.7)])
def test_the_outline_is_chosen_on_the_flagged_films_of_each_operating_point(sensitivity, chosen):
    found, missed = ([predicted(n, True, logit, height) for n in range(count)] for count, logit, height in
                     ((4, 3.0, 0.7), (8, -1.0, 0.9)))  # fmt: skip
    held = [*found, *missed, *(predicted(n, False, -2.0) for n in range(4))]
    assert choose(held, PublishingSection(sensitivity=sensitivity)).points["sensitive"].mask_threshold == chosen


def test_where_no_positive_film_is_flagged_all_of_them_choose_the_outline():
    held = [
        *(predicted(n, True, 1.0) for n in range(3)),
        *(predicted(n, False, logit) for n, logit in enumerate((0, 2))),
    ]
    point = choose(held, PublishingSection(specificity=1.0)).points["specific"]
    assert (point.score, point.mask_threshold) == (1.0, 0.7)


def test_everything_is_chosen_together_and_measured_on_other_films():
    held = [predicted(n, n % 2 == 0, 2.0 if n % 2 == 0 else -2.0) for n in range(20)]
    choice = choose(held, PublishingSection())
    assert set(choice.points) == {"sensitive", "balanced", "specific"}
    assert choice.films == 20
    figures = manifest_figures(held, choice.calibration, choice.points["balanced"])
    assert (figures["films"], figures["positives"], figures["auc"]) == (20, 10, 1.0)
    assert figures["dice_positive"] > 0.99
    assert figures["auc_interval"] == [1.0, 1.0]
    worse = manifest_figures(held, UNCALIBRATED, Thresholds(0.0, 0.3, 0.0))
    assert worse["dice_positive"] == pytest.approx(2 * 400 / (400 + 36**2), abs=1e-3)


def test_mask_evidence_counts_only_if_enabled():
    films = [predicted(f"{n}", bool(n % 2), (n % 5) / 5, 0.9 if n % 2 else 0.2) for n in range(40)]
    without, heeded = (choose(films, PublishingSection(mask_evidence=asked)) for asked in (False, True))
    assert without.calibration.mask_weight == 0
    assert heeded.calibration.mask_weight > 0
    common = choose(films, PublishingSection(prevalence=0.9))  # a high prevalence adds to every score alike
    assert common.calibration.mask_weight == 0
    assert common.calibration.bias > 0


def test_films_of_one_label_cannot_choose_thresholds():
    with pytest.raises(SettingsError):
        choose([predicted(n, True, 1.0) for n in range(3)], PublishingSection())
