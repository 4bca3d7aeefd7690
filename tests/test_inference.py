"""Prepare, predict and decide, on synthetic films and networks with known outputs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ptx_app.inference.decide import Side, Thresholds, decide
from ptx_app.inference.predict import Prediction, calibrated_score, mask_evidence, predict
from ptx_app.inference.prepare import NetworkInput, prepare
from ptx_app.model.manifest import UNCALIBRATED, Calibration, InputSpec, Weights, load_manifest
from ptx_app.model.network import NetworkOutput

SPEC = InputSpec(side=64, fit="stretch", interpolation="area", channels=3, mean=0.4, std=0.2)


def weights(**changes) -> Weights:
    plain = {"input": SPEC, "flip_averaging": False, "calibration": UNCALIBRATED}
    return load_manifest().entry().model_copy(update=plain | changes)


class BrightIsAir:
    """A network that marks bright pixels as air; its score depends on the brightest pixel."""

    def __init__(self) -> None:
        self.batches = []

    def __call__(self, batch):
        self.batches.append(batch)
        grey = batch[:, 0] * SPEC.std + SPEC.mean
        return NetworkOutput((grey - 0.5) * 20, (grey.max(axis=(1, 2)) - 0.5) * 10)


@given(arrays(np.float32, st.tuples(st.integers(8, 200), st.integers(8, 200)), elements=st.floats(0, 1, width=32)))
@settings(max_examples=40, deadline=None)
def test_prepare_keeps_grey_in_range_and_channels_alike(film):
    square = prepare(film, SPEC)
    assert square.shape == (3, 64, 64)
    assert square.dtype == np.float32
    assert square.flags.c_contiguous
    grey = square[0] * SPEC.std + SPEC.mean
    assert grey.min() >= film.min() - 1e-5
    assert grey.max() <= film.max() + 1e-5
    assert np.array_equal(square[0], square[1])
    assert np.array_equal(square[0], square[2])


def test_prepare_averages_areas_and_normalises():
    film = np.zeros((128, 128), np.float32)
    film[::2] = 1.0
    assert np.allclose(prepare(film, SPEC), (0.5 - 0.4) / 0.2, atol=1e-5)


def test_denoising_takes_a_lone_pixel_away_and_leaves_edges():
    film = np.zeros((64, 64), np.float32)
    film[:, 32:] = 1.0
    speckled = film.copy()
    speckled[10, 10] = 1.0
    median = SPEC.model_copy(update={"denoising": "median"})
    assert np.array_equal(prepare(speckled, median), prepare(film, SPEC))
    assert not np.array_equal(prepare(speckled, SPEC), prepare(film, SPEC))


def test_prepare_stretches_and_does_not_turn():
    film = np.zeros((100, 300), np.float32)
    film[:50, :150] = 1.0
    grey = prepare(film, SPEC)[0] * SPEC.std + SPEC.mean
    assert grey[10, 10] == pytest.approx(1)
    assert grey[10, 50] == pytest.approx(0)
    assert grey[50, 10] == pytest.approx(0)


def test_predict_puts_the_answer_where_the_film_has_it():
    film = np.zeros((200, 100), np.float32)
    film[:100, :50] = 1.0
    prediction = predict(BrightIsAir(), NetworkInput(prepare(film, SPEC)), weights())
    assert prediction.probability.shape == (64, 64)
    assert prediction.probability.dtype == np.float32
    assert prediction.probability[10, 10] > 0.99
    assert prediction.probability[10, 50] < 0.01
    assert prediction.score == pytest.approx(1 / (1 + np.exp(-5)), abs=1e-3)


def test_flip_averaging_gives_both_ways_to_the_network_and_turns_the_answer_back():
    film = np.zeros((64, 64), np.float32)
    film[:, :20] = 1.0
    network = BrightIsAir()
    averaged = predict(network, NetworkInput(prepare(film, SPEC)), weights(flip_averaging=True))
    assert network.batches[0].shape == (2, 3, 64, 64)
    assert np.array_equal(network.batches[0][0], network.batches[0][1][:, :, ::-1])
    alone = predict(BrightIsAir(), NetworkInput(prepare(film, SPEC)), weights())
    assert np.allclose(averaged.probability, alone.probability, atol=1e-6)
    assert averaged.score == pytest.approx(alone.score)


class Tells:
    """A network that says that the upper left quarter makes the score, on whatever it is shown."""

    engine = "made"

    def __call__(self, batch):
        activation = np.zeros((len(batch), 2, 2), np.float32)
        activation[:, 0, 0] = 3
        logits = np.zeros((len(batch), *batch.shape[2:]), np.float32)
        return NetworkOutput(logits, np.zeros(len(batch), np.float32), activation)


@pytest.mark.parametrize(("averaged", "expected"), [(False, [[3, 0], [0, 0]]), (True, [[1.5, 1.5], [0, 0]])])
def test_the_activation_is_the_films_or_the_mean_with_its_mirror_image_turned_back(averaged, expected):
    film = NetworkInput(np.zeros((3, 64, 64), np.float32))
    assert predict(Tells(), film, weights(flip_averaging=averaged)).activation.tolist() == expected


def test_a_network_that_does_not_tell_has_no_activation():
    assert predict(BrightIsAir(), NetworkInput(np.zeros((3, 64, 64), np.float32)), weights()).activation is None


def test_calibration_is_temperature_then_bias():
    nothing = np.zeros((8, 8), np.float32)
    assert calibrated_score(2.0, nothing, Calibration(temperature=2.0, bias=-1.0)) == pytest.approx(0.5)
    assert calibrated_score(500.0, nothing, UNCALIBRATED) == pytest.approx(1.0)
    assert calibrated_score(-500.0, nothing, UNCALIBRATED) == pytest.approx(0.0)


def test_a_sure_mask_raises_the_score_by_its_weight():
    probability = np.zeros((100, 100), np.float32)
    assert mask_evidence(probability) == pytest.approx(np.log(1e-4), abs=1e-3)
    probability[3, :10] = 0.8  # a thousandth of the film
    assert mask_evidence(probability) == pytest.approx(np.log(4), abs=1e-5)
    probability[3, 5:10] = 0.4
    assert mask_evidence(probability) == pytest.approx(np.log(1.5), abs=1e-5), "the mean of ten pixels is 0.6"
    probability[3, 5:10] = 0.8
    probability[50:, :] = 0.79
    assert mask_evidence(probability) == pytest.approx(np.log(4), abs=1e-5)
    score = calibrated_score(1.0, probability, Calibration(temperature=1.0, bias=0.0, mask_weight=0.5))
    assert score == pytest.approx(1 / (1 + np.exp(-1 - np.log(4) / 2)))


def test_of_a_small_map_the_surest_pixel_alone_counts():
    probability = np.zeros((20, 20), np.float32)
    probability[3, 4] = 0.8
    assert mask_evidence(probability) == pytest.approx(np.log(4), abs=1e-5)


@given(arrays(np.float32, (20, 20), elements=st.floats(0, 1, width=32)))
def test_the_masks_evidence_is_finite_and_the_same_for_the_mirrored_film(probability):
    assert abs(mask_evidence(probability)) < 9.3
    assert mask_evidence(probability) == mask_evidence(probability[:, ::-1])


def prediction_with(*boxes: tuple[int, int, int, int], score: float = 0.9, side: int = 100) -> Prediction:
    probability = np.zeros((side, side), np.float32)
    for left, top, right, bottom in boxes:
        probability[top:bottom, left:right] = 0.8
    return Prediction(score, probability, 0.0)


def test_a_film_under_the_score_threshold_has_no_mask():
    finding = decide(prediction_with((10, 10, 60, 60), score=0.49), (100, 100), Thresholds(0.5, 0.3, 0))
    assert not finding.flagged
    assert not finding.mask.any()
    assert finding.regions == ()
    assert finding.share == 0


def test_the_threshold_itself_is_flagged():
    assert decide(prediction_with(score=0.5), (10, 10), Thresholds(0.5, 0.3, 0)).flagged


def test_the_left_of_the_picture_is_the_right_of_the_patient():
    finding = decide(prediction_with((5, 5, 25, 25)), (100, 100), Thresholds(0.5, 0.5, 0))
    assert finding.sides == (Side.RIGHT,)
    finding = decide(prediction_with((75, 5, 95, 25)), (100, 100), Thresholds(0.5, 0.5, 0))
    assert finding.sides == (Side.LEFT,)


def test_regions_come_largest_first_with_share_and_box():
    prediction = prediction_with((10, 10, 20, 20), (60, 10, 90, 40))
    finding = decide(prediction, (100, 100), Thresholds(0.5, 0.5, 0))
    assert [region.side for region in finding.regions] == [Side.LEFT, Side.RIGHT]
    assert finding.regions[0].box == (60, 10, 90, 40)
    assert finding.regions[0].share == pytest.approx(0.09)
    assert finding.share == pytest.approx(0.10)
    assert finding.sides == (Side.RIGHT, Side.LEFT)


def test_regions_that_are_too_small_are_dropped_from_the_mask_too():
    prediction = prediction_with((10, 10, 20, 20), (60, 10, 90, 40))
    finding = decide(prediction, (100, 100), Thresholds(0.5, 0.5, 0.02))
    assert len(finding.regions) == 1
    assert finding.share == pytest.approx(0.09)


def test_flagged_without_any_region_is_said():
    finding = decide(prediction_with(), (50, 70), Thresholds(0.5, 0.5, 0))
    assert finding.flagged
    assert finding.regions == ()
    assert finding.mask.shape == (50, 70)


@given(
    arrays(np.float32, (16, 16), elements=st.floats(0, 1, width=32)),
    st.integers(5, 80),
    st.integers(5, 80),
    st.floats(0.01, 0.98),
    st.floats(0, 0.2),
)
@settings(max_examples=60, deadline=None)
def test_masks_shrink_as_the_mask_threshold_rises_and_regions_add_up(
    probability, height, width, mask_threshold, smallest
):
    low = decide(Prediction(1.0, probability, 0.0), (height, width), Thresholds(0.5, mask_threshold, 0))
    high = decide(Prediction(1.0, probability, 0.0), (height, width), Thresholds(0.5, min(mask_threshold + 0.01, 1), 0))
    assert low.mask.shape == (height, width)
    assert not (high.mask & ~low.mask).any()
    kept = decide(Prediction(1.0, probability, 0.0), (height, width), Thresholds(0.5, mask_threshold, smallest))
    assert sum(region.share for region in kept.regions) == pytest.approx(kept.share, abs=1e-6)
    assert all(region.share >= smallest for region in kept.regions)
    for region in kept.regions:
        left, top, right, bottom = region.box
        assert kept.mask[top:bottom, left:right].any()
