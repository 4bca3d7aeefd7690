"""The evaluation is right on known films and masks, and its report has the same figures as its JSON."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ptx_app.data.index import LabelledFilm, MaskKind, read_index
from ptx_app.evaluation import metrics
from ptx_app.evaluation.goals import against_goals
from ptx_app.evaluation.hard_cases import CASES, harder
from ptx_app.evaluation.known_films import KnownFilm, PredictedFilm, predict_films, prepared_films
from ptx_app.evaluation.manifest_figures import manifest_figures, outline
from ptx_app.evaluation.plots import telling_films
from ptx_app.evaluation.report import _NAMES, markdown, value
from ptx_app.evaluation.results import _other_side, differences, evaluate, film_by_film, results_of, thirds_by_size
from ptx_app.evaluation.run import drawn, write_evaluation
from ptx_app.film.radiograph import View
from ptx_app.inference.decide import Thresholds
from ptx_app.inference.predict import Prediction
from ptx_app.model.manifest import Calibration, NetworkSpec, OperatingPoint, Weights
from ptx_app.model.network import NetworkOutput
from ptx_app.model.torch_network import TorchNetwork, build_module
from ptx_app.pipeline import Detector
from ptx_app.training.configuration import InputSection
from ptx_app.training.optimisation import set_batch_norm_momentum
from tests.support.made_folder import film_and_mask, prepared_folder, row, write_index
from tests.support.records import records_of

POINTS = tuple(
    OperatingPoint(name=name, score=score, mask_threshold=0.5, smallest_region=0.0)
    for name, score in (("sensitive", 0.2), ("balanced", 0.5))
)
WEIGHTS = Weights(
    name="tiny",
    title="A tiny network",
    network=NetworkSpec(architecture="Unet", encoder="mobilenet_v2"),
    input=InputSection(side=64).spec(),
    flip_averaging=False,
    bytes=1,
    sha256="0" * 64,
    sources=(),
    calibration=Calibration(temperature=2.0, bias=0.0),
    operating_points=POINTS,
    default_operating_point="balanced",
    provenance="Made.",
    terms="None.",
    figures={},
)


def film(
    number: int, logit: float, truth: int, marked: int, view: View = View.PA, marked_from: int = 0
) -> PredictedFilm:
    """A film of 10 by 10 px whose first `truth` pixels are true; `marked` ones are marked, from `marked_from` on."""
    pixels = np.arange(100)
    true, shown = pixels < truth, (pixels >= marked_from) & (pixels < marked_from + marked)
    return with_masks(number, logit, true.reshape(10, 10), shown.reshape(10, 10), view)


def with_masks(number: int, logit: float, true: np.ndarray, shown: np.ndarray, view: View = View.PA) -> PredictedFilm:
    probability = np.where(shown, 0.9, 0.1).astype(np.float32)
    prediction = Prediction(0.0, probability, logit)
    return PredictedFilm(f"film-{number}", f"patient-{number}", bool(true.any()), view, true, prediction)


@pytest.fixture
def hardly_any_draws(monkeypatch):
    """For tests of values without their intervals, which take most of the time."""
    monkeypatch.setattr(metrics, "BOOTSTRAP_DRAWS", 2)


@pytest.fixture(scope="module")
def films():
    return [
        film(0, 2.0, 10, 10, View.AP),  # found and outlined rightly
        film(1, -1.0, 20, 60),  # flagged at "sensitive" alone, and three times too large
        film(2, -9.0, 40, 40),  # missed
        film(3, -9.0, 0, 5),  # rightly not flagged, so its mask is not shown
        film(4, 2.0, 0, 25),  # a false positive
        film(5, 2.0, 0, 0),  # flagged, and nothing marked
    ]


@pytest.fixture(scope="module")
def document(films):
    return {"command": "ptx evaluate --against other", "engine": "torch, cpu"} | evaluate(
        results_of(films, WEIGHTS), WEIGHTS
    )


def test_another_model_is_compared_film_by_film(films, document):
    changed = [
        film(0, -9.0, 10, 12, View.AP),  # no longer found; the outline is a little worse
        film(1, 2.0, 20, 20),  # found now, and outlined rightly
        film(2, -9.0, 40, 0),  # missed as before; the outline is gone
        film(3, 2.0, 0, 5),  # a new false positive
        film(4, -9.0, 0, 25),  # no longer a false positive
        film(5, 2.0, 0, 0),
    ]
    now, base = results_of(changed, WEIGHTS), results_of(films, WEIGHTS)
    other = film_by_film(now, WEIGHTS, base, WEIGHTS)
    counts = {name: value for name, value in other.items() if isinstance(value, int)}
    assert counts == {
        "found_now": 1,
        "missed_now": 1,
        "spared_now": 1,
        "flagged_now": 1,
        "better_outline": 1,
        "worse_outline": 1,
    }
    text = markdown(document | {"against": other}, {})
    assert "| Outlines of films with a pneumothorax | 1 | 1 |" in text
    assert "Film by film" not in markdown(document, {})


@pytest.mark.usefixtures("hardly_any_draws")
@pytest.mark.parametrize(("overlap", "changed"), [(1, 0), (2, 1)])
def test_an_outline_is_better_or_worse_if_its_dice_changes_by_more_than_a_tenth(overlap, changed):
    # 10 true px and 10 marked ones: the Dice is 0.1 for each that is both.
    beside, nearer = (
        results_of([film(0, 2.0, 10, 10, marked_from=10 - both), film(1, 2.0, 0, 0)], WEIGHTS) for both in (0, overlap)
    )
    assert film_by_film(nearer, WEIGHTS, beside, WEIGHTS)["better_outline"] == changed
    assert film_by_film(beside, WEIGHTS, nearer, WEIGHTS)["worse_outline"] == changed


@pytest.mark.usefixtures("hardly_any_draws")
def test_a_film_without_a_true_outline_counts_by_its_score_alone(films, document):
    agreed = replace(film(6, 2.0, 30, 60), outlined=False)
    results = results_of([*films, agreed], WEIGHTS)
    found = evaluate(results, WEIGHTS)
    assert found["positives"] == 4
    assert found["operating_points"]["balanced"]["sensitivity"]["value"] == 0.5  # without it a third
    assert results.points["balanced"].outlined[6]
    assert sum(part["count"] for part in found["by_size"]) == 3
    for name in ("dice_mean", "dice_median", "iou_mean", "iou_median"):
        assert found["overall"][name]["value"] == document["overall"][name]["value"]
    of_outlines = ("challenge_dice", "dice_positive", "other_side", "outlined_negatives")
    of_parts = ("region_recall", "region_precision", "pixel_accuracy", "pixel_precision", "pixel_recall")
    for point in ("sensitive", "balanced"):
        for name in (*of_outlines, *of_parts):
            before, after = (each["operating_points"][point][name]["value"] for each in (document, found))
            assert before == after, name
    thresholds = Thresholds.of(WEIGHTS.operating_point())
    figures = [manifest_figures(each, WEIGHTS.calibration, thresholds) for each in (films, [*films, agreed])]
    assert [each["dice_positive"] for each in figures] == [0.8333] * 2
    assert [each["positives"] for each in figures] == [3, 4]


@pytest.mark.usefixtures("hardly_any_draws")
def test_regions_are_found_or_right_if_truth_and_mask_share_a_pixel():
    true, shown = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    true[0:2, 0:2] = true[2:4, 2:4] = True  # one region: its parts touch at a corner
    true[8:, 0:2] = True
    for place in ((0, 0), (3, 3), (8, 8), (5, 8), (2, 8)):
        shown[place] = True
    results = results_of([with_masks(0, 2.0, true, shown), film(1, -9.0, 0, 0)], WEIGHTS)
    assert results.points["balanced"].regions.tolist() == [[2, 1, 5, 2], [0, 0, 0, 0]]
    found = evaluate(results, WEIGHTS)["operating_points"]["balanced"]
    assert (found["region_recall"]["value"], found["region_precision"]["value"]) == (1 / 2, 2 / 5)


@pytest.mark.usefixtures("hardly_any_draws")
@pytest.mark.filterwarnings("error")
def test_where_no_film_is_flagged_nothing_is_said_of_what_flags_and_outlines_are_worth():
    found = evaluate(results_of([film(0, -9.0, 10, 10), film(1, -9.0, 0, 5)], WEIGHTS), WEIGHTS)
    point = {name: each["value"] for name, each in found["operating_points"]["balanced"].items() if name in _NAMES}
    unknown = {"worth_at_20", "worth_at_5", "worth_at_1", "pixel_precision", "region_precision", "other_side"}
    assert {name for name, value in point.items() if value is None} == unknown
    assert (point["sensitivity"], point["specificity"], point["pixel_recall"], point["region_recall"]) == (0, 1, 0, 0)


@pytest.mark.usefixtures("hardly_any_draws")
def test_the_document_says_which_films_and_model_it_is_of(films):
    same_patient = replace(films[1], group=films[0].group)
    found = evaluate(results_of([films[0], same_patient, *films[2:]], WEIGHTS), WEIGHTS)
    said = ("model", "films", "positives", "patients", "mask_threshold", "default_operating_point")
    assert [found[name] for name in said] == ["tiny", 6, 3, 5, 0.5, "balanced"]
    assert found["operating_points"]["sensitive"]["score"] == 0.2
    assert [(part["films"], part["positives"]) for part in found["by_view"]] == [("AP", 1), ("PA", 2)]


def test_scores_are_judged_before_and_after_calibration(document):
    logit, positive = np.asarray([2.0, -1, -9, -9, 2, 2]), np.asarray([1, 1, 1, 0, 0, 0])
    for name, temperature in (("before", 1), ("after", 2)):
        score = 1 / (1 + np.exp(-logit / temperature))
        assert document["calibration"][f"brier_{name}"]["value"] == pytest.approx(
            ((score - positive) ** 2).mean(), abs=6e-5
        )
        bins = np.floor(score * 10)
        error = sum(abs((score - positive)[bins == place].sum()) for place in set(bins)) / 6
        assert document["calibration"][f"error_{name}"]["value"] == pytest.approx(error, abs=6e-5)


def test_overlap_is_of_all_positive_films_flagged_or_not(document):
    overall = {name: measured["value"] for name, measured in document["overall"].items()}
    assert overall["dice_mean"] == pytest.approx(np.mean([1, 40 / 80, 1]), abs=1e-4)
    assert overall["dice_median"] == 1
    assert overall["iou_mean"] == pytest.approx(np.mean([1, 1 / 3, 1]), abs=1e-4)
    assert overall["auc"] == pytest.approx(3.5 / 9, abs=1e-4)  # three ties


def test_goals_are_missed_by_the_distance_to_them(document):
    goals = {row["figure"].split(",")[0]: row for row in document["goals"]}
    assert goals["Dice"]["missed_by"] == 0  # 0.8333
    assert goals["AUC"]["missed_by"] == pytest.approx(0.965 - 3.5 / 9, abs=1e-4)
    best = max(point["challenge_dice"]["value"] for point in document["operating_points"].values())
    assert goals["Challenge's mean Dice"]["measured"]["value"] == best
    text = markdown(document, {})
    assert "| Dice, mean, on positive films | at least 0.54 | 0.833 (" in text
    assert text.count("| met |") == 1
    assert f"| {goals['AUC']['missed_by']:.3f} |" in text


def test_what_is_not_flagged_is_not_shown(document):
    sensitive, balanced = (document["operating_points"][name] for name in ("sensitive", "balanced"))
    assert (sensitive["sensitivity"]["value"], balanced["sensitivity"]["value"]) == (0.6667, 0.3333)
    assert balanced["specificity"]["value"] == 0.3333
    assert balanced["challenge_dice"]["value"] == pytest.approx((1 + 0 + 0 + 1 + 0 + 1) / 6, abs=1e-4)
    assert sensitive["dice_positive"]["value"] == pytest.approx((1 + 0.5 + 0) / 3, abs=1e-4)
    assert balanced["pixel_precision"]["value"] == pytest.approx(10 / 35, abs=1e-4)
    assert balanced["pixel_recall"]["value"] == pytest.approx(10 / 70, abs=1e-4)
    assert balanced["pixel_accuracy"]["value"] == pytest.approx(1 - (60 + 25) / 600, abs=1e-4)


def test_false_regions_and_the_value_of_a_flag(document):
    sensitive = document["operating_points"]["sensitive"]
    found = {name: measured["value"] for name, measured in sensitive.items() if isinstance(measured, dict)}
    assert found["outlined_negatives"] == pytest.approx(1 / 3, abs=1e-4)  # film 4; film 5 is flagged without a region
    sensitivity, false_alarms = 2 / 3, 2 / 3
    for percent in (20, 5, 1):
        share = percent / 100
        worth = sensitivity * share / (sensitivity * share + false_alarms * (1 - share))
        assert found[f"worth_at_{percent}"] == pytest.approx(worth, abs=1e-4)
    assert found["region_recall"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["region_precision"] == pytest.approx(2 / 3, abs=1e-4)


GOALS = {
    "Dice, mean, on positive films": (0.54, False),
    "AUC": (0.965, False),
    "Challenge's mean Dice, the highest of the operating points": (0.865, False),
    "Sensitivity at a specificity of 0.92": (0.88, False),
    "Films without a pneumothorax that get an outline, at the default operating point": (0.08, True),
    "Calibration error": (0.04, True),
}


@pytest.mark.parametrize("figure", GOALS)
@pytest.mark.parametrize(("short", "missed"), [(-0.01, 0), (0, 0), (0.01234, 0.0123), (None, None)])
def test_a_goal_is_met_by_its_figure_and_missed_by_what_is_short_of_it(figure, short, missed):
    goal, at_most = GOALS[figure]
    reached = None if short is None else goal + short if at_most else goal - short
    told, other = ({"value": each, "low": None, "high": None} for each in (reached, 0.5))
    dice, auc, challenge, sensitivity, outlined, error = (told if name == figure else other for name in GOALS)
    lower = {"value": None if challenge["value"] is None else 0.1}
    document = {
        "overall": {"dice_mean": dice, "auc": auc, "sensitivity_at_specificity": sensitivity},
        "operating_points": {
            "sensitive": {"challenge_dice": lower, "outlined_negatives": other},
            "balanced": {"challenge_dice": challenge, "outlined_negatives": outlined},
            "specific": {"challenge_dice": lower, "outlined_negatives": other},
        },
        "default_operating_point": "balanced",
        "calibration": {"error_after": error},
    }
    rows = against_goals(document)
    assert [row["figure"] for row in rows] == list(GOALS)
    (row,) = (row for row in rows if row["figure"] == figure)
    assert (row["goal"], row["at_most"], row["measured"]["value"]) == (goal, at_most, reached)
    assert row["missed_by"] == missed


@pytest.mark.parametrize(
    ("true", "shown", "said"),
    [("l", "l", 0.0), ("l", "lr", 1.0), ("l", "r", 1.0), ("l", "", 0.0), ("lr", "l", None), ("", "r", None)],
)
def test_an_outline_on_the_other_side_counts_for_one_sided_films_only(true, shown, said):
    def mask(sides):
        made = np.zeros((8, 8), bool)
        for side in sides:
            made[2:4, slice(1, 3) if side == "l" else slice(5, 7)] = True
        return made

    found = _other_side(mask(true), mask(shown))
    assert np.isnan(found) if said is None else found == said


def test_the_films_to_look_at_are_the_best_the_worst_and_the_surest_false_alarms(films):
    results = results_of(films, WEIGHTS)
    dice = results.dice[results.positive]
    rows = telling_films(results, 0.5, count=2)
    assert results.dice[rows["best"]].tolist() == sorted(dice, reverse=True)[:2]
    assert results.dice[rows["worst"]].tolist() == sorted(dice, reverse=True)[-2:]
    assert rows["false-alarms"].tolist() == [4, 5]
    assert telling_films(results, 0.99)["false-alarms"].size == 0


def test_a_difference_is_paired_by_film(films):
    base = results_of(films, WEIGHTS)
    better = results_of([film(0, 2.0, 10, 10), film(1, 9.0, 20, 20), *films[2:]], WEIGHTS)
    found = differences(better, base)
    assert found["dice_mean"]["value"] == pytest.approx(0.5 / 3, abs=1e-4)
    assert found["auc"]["value"] == pytest.approx((3 - 1) / 9, abs=1e-4)  # the second film rises above two more
    assert found["dice_mean"]["low"] == 0  # in no draw of patients is it worse
    assert differences(base, base)["auc"] == {"value": 0, "low": 0, "high": 0}
    with pytest.raises(ValueError, match="same films"):
        differences(results_of(films[1:], WEIGHTS), base)


def test_intervals_hold_their_figures(document):
    for part in (document["overall"], document["calibration"], document["operating_points"]["balanced"]):
        for measured in part.values():
            if isinstance(measured, dict) and measured["value"] is not None:
                assert measured["low"] <= measured["value"] <= measured["high"]


def test_parts_by_size_and_view_are_all_of_the_films(document):
    assert [part["count"] for part in document["by_size"]] == [1, 1, 1]
    assert [part["dice_mean"]["value"] for part in document["by_size"]] == [1, 0.5, 1]
    views = {part["films"]: part for part in document["by_view"]}
    assert (views["AP"]["count"], views["PA"]["count"]) == (1, 5)
    assert views["AP"]["specificity"]["value"] is None
    films = [film(number, 0.0, 1 + number, 0) for number in range(7)]
    thirds = thirds_by_size(results_of(films, WEIGHTS))
    assert [list(rows) for rows in thirds.values()] == [[0, 1, 2], [3, 4], [5, 6]]
    alone = thirds_by_size(results_of([film(0, 0.0, 5, 0)], WEIGHTS))
    assert [(name, list(rows)) for name, rows in alone.items()] == [("small (5.00% to 5.00% of the film)", [0])]


def test_the_report_says_what_the_document_says(document):
    text = markdown(document, {"ROC": "roc.png"})
    assert "AUC: {value:.3f} ({low:.3f} to {high:.3f})".format(**document["overall"]["auc"]) in text
    assert "without flip averaging" in text
    assert "| AP (1) |" in text
    assert "![ROC](roc.png)" in text
    assert "None" not in text
    assert "nan" not in text


def test_each_table_of_the_report_is_whole_and_has_its_figures_once(document):
    tables, table = [], []
    for line in [*markdown(document, {}).splitlines(), ""]:
        if line.startswith("|"):
            table.append([cell.strip() for cell in line.strip("|").split("|")])
        elif table:
            tables.append(table)
            table = []
    for head, divider, *rows in tables:
        assert divider == ["---"] * len(head)
        assert rows
        assert {len(row) for row in rows} == {len(head)}
    _, verdicts, outlines, by_size, by_view = (head for head, *_ in tables)
    assert verdicts[1:3] == ["Sensitivity", "Specificity"]
    assert [name for name in verdicts if "flag" in name] == [f"Value of a flag at {each} %" for each in (20, 5, 1)]
    assert outlines[0] == "Operating point"
    assert not set(outlines[1:]) & set(verdicts[1:])
    assert {*outlines[1:], *verdicts[1:]} == {
        _NAMES[name] for name in document["operating_points"]["balanced"] if name in _NAMES
    }
    assert (by_size[0], by_view[0]) == ("Pneumothorax", "View (films)")


@pytest.mark.parametrize(
    ("measured", "text"),
    [
        ((0.12345, 0.1, 0.2), "0.123 (0.100 to 0.200)"),
        ((0.5, None, None), "0.500"),
        ((0.0, 0.0, 0.0), "0.000 (0.000 to 0.000)"),
        ((None, None, None), "–"),
    ],
)
def test_a_figure_is_written_with_its_interval_as_far_as_they_are_known(measured, text):
    assert value(dict(zip(("value", "low", "high"), measured, strict=True))) == text


def test_the_report_says_whose_labels_and_which_weights_it_is_of(document):
    expert = markdown(document | {"sha256": "0123456789abcdef0123"}, {})
    assert "6 expert-labelled SIIM-ACR validation films of 6 patients, 3 with a pneumothorax" in expert
    assert "sha256 `0123456789abcdef…`" in expert
    assert "Written by `ptx evaluate --against other`" in expert
    assert "## Goals" in expert
    answers = {name: part for name, part in document.items() if name != "goals"}
    reader = markdown(answers | {"labels": "reader", "outlined": 2, "flip_averaging": True}, {})
    assert "6 films labelled by readers of the page, 3 with a pneumothorax" in reader
    assert "on 2 of the films" in reader
    assert "with flip averaging" in reader
    assert "expert-labelled" not in reader
    assert "## Goals" not in reader


def test_a_goal_without_a_figure_is_neither_met_nor_missed(document):
    (row, *_) = document["goals"]
    unknown = row | {"missed_by": None, "measured": {"value": None, "low": None, "high": None}}
    text = markdown(document | {"goals": [unknown]}, {})
    assert "| Dice, mean, on positive films | at least 0.54 | – | – |" in text


@pytest.mark.parametrize("case", CASES)
def test_hard_cases_are_harder_step_by_step_and_stay_films(case):
    chance = np.random.default_rng(3)
    pixels = np.linspace(0.1, 0.9, 96 * 96, dtype=np.float32).reshape(96, 96) + chance.random((96, 96)) * 0.1
    truth = np.zeros((192, 192), bool)
    truth[60:120, 80:100] = True
    known = KnownFilm("film", "patient", True, View.PA, pixels.astype(np.float32), truth)
    strengths, distances = CASES[case][0], []
    for strength in strengths:
        (changed,) = harder([known], case, strength)
        assert changed.pixels.dtype == np.float32
        assert changed.pixels.min() >= 0
        assert changed.pixels.max() <= 1
        assert changed.truth.dtype == np.bool_
        assert changed.truth.sum() == pytest.approx(truth.sum(), rel=0.03)
        assert changed.truth.shape[0] / changed.pixels.shape[0] == pytest.approx(2, rel=0.02)
        height, width = changed.pixels.shape
        distances.append(float(np.abs(changed.pixels - pixels[:height, :width]).mean()))
    assert 0 < distances[0] < distances[1] < distances[2]


def test_places_change_with_their_truth():
    truth = np.zeros((64, 64), bool)
    truth[10:30, 40:50] = True
    known = KnownFilm("film", "patient", True, View.PA, truth.astype(np.float32), truth)
    for case, strength in (("turned (degrees)", 15.0), ("cropped (share of each edge)", 0.12)):
        (changed,) = harder([known], case, strength)
        assert ((changed.pixels > 0.5) == changed.truth).mean() > 0.99


def test_one_command_writes_report_json_and_figures(tmp_path, monkeypatch):
    cases = dict(list(CASES.items())[-1:])
    monkeypatch.setattr("ptx_app.evaluation.run.CASES", cases)
    (tmp_path / "films").mkdir()
    data = prepared_folder(tmp_path / "films")
    torch.manual_seed(1)
    module = build_module(WEIGHTS.network)
    set_batch_norm_momentum(module, 1.0)
    with torch.no_grad():
        module.train()(torch.randn(4, 3, 64, 64))  # norms that fit the weights: without, values vanish, slowly
    state = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    save_file(state, tmp_path / "tiny.safetensors")
    report = write_evaluation(
        Detector(WEIGHTS, TorchNetwork(WEIGHTS, tmp_path / "tiny.safetensors")),
        data,
        tmp_path / "report",
        flip_averaging=True,
        hard_films=2,
        pictures=tmp_path / "pictures",
    )
    document = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert document["engine"].startswith("torch")
    assert document["flip_averaging"]
    assert (document["films"], document["positives"]) == (8, 4)
    assert len(document["hard_cases"]["cases"]) == 1 + 3 * len(cases)
    text = report.read_text()
    assert "with flip averaging" in text
    assert all(path.name in text for path in (tmp_path / "report").glob("*.png"))
    assert {path.name for path in (tmp_path / "report").glob("*.png")} == {
        "evaluation-roc.png",
        "evaluation-calibration.png",
        "evaluation-dice-by-size.png",
    }
    assert len(list((tmp_path / "pictures").iterdir())) == 4


class BrightIsAir:
    """A network that marks bright pixels as air; its score depends on the brightest pixel."""

    engine = "made"

    def __call__(self, batch):
        grey = batch[:, 0] * WEIGHTS.input.std + WEIGHTS.input.mean
        return NetworkOutput((grey - 0.5) * 20, (grey.max(axis=(1, 2)) - 0.5) * 10)


def folder_of(folder: Path, kinds: dict[str, MaskKind], **values: str) -> Path:
    """A prepared folder of a film for each name, positive but for "negative"."""
    rows = []
    for number, (name, kind) in enumerate(kinds.items()):
        positive = name != "negative"
        film, mask = film_and_mask(number, positive)
        for file, picture in ((f"{name}.png", film), (f"{name}-mask.png", mask)):
            cv2.imwrite(str(folder / file), picture)
        masked = {"mask": f"{name}-mask.png"} if positive and not kind.endswith("label-only") else {}
        rows.append(row(name, label=str(int(positive)), mask_kind=kind.value, **masked, **values))
    return write_index(folder, rows)


@pytest.fixture
def evaluation_of(tmp_path, monkeypatch):
    """Evaluates BrightIsAir on a folder, with one hard case and no figures. Returns the document and the report."""
    monkeypatch.setattr(metrics, "BOOTSTRAP_DRAWS", 2)
    monkeypatch.setattr("ptx_app.evaluation.run.draw_figures", lambda *_: {})
    monkeypatch.setattr("ptx_app.evaluation.run.CASES", dict(list(CASES.items())[:1]))

    def evaluated(data: Path, **options: object) -> tuple[dict[str, object], str]:
        report = write_evaluation(Detector(WEIGHTS, BrightIsAir()), data, tmp_path / "new" / "report", **options)
        return json.loads((tmp_path / "new" / "report" / "evaluation.json").read_text()), report.read_text()

    return evaluated


EXPERT = {"negative": MaskKind.EXPERT, "first": MaskKind.EXPERT, "second": MaskKind.EXPERT}


def test_an_evaluation_is_of_the_entry_as_it_is_with_nothing_that_was_not_asked_for(tmp_path, evaluation_of):
    data = folder_of(tmp_path, EXPERT, split="val")
    for _ in range(2):  # the second writes over the first
        document, text = evaluation_of(data)
        assert (document["labels"], document["engine"], document["flip_averaging"]) == ("expert", "made", False)
        assert (document["films"], document["positives"], document["outlined"]) == (3, 2, 2)
        assert document["overall"]["dice_mean"]["value"] > 0.9
        assert not {"against", "hard_cases"} & set(document)
        assert "## Hard cases" not in text
    assert evaluation_of(data, flip_averaging=True)[0]["flip_averaging"]


def test_another_model_is_put_beside_it(tmp_path, evaluation_of):
    other = Detector(WEIGHTS.model_copy(update={"name": "other"}), BrightIsAir())
    document, text = evaluation_of(folder_of(tmp_path, EXPERT, split="val"), against=other)
    assert (document["model"], document["against"]["model"]) == ("tiny", "other")
    assert document["against"]["differences"]["auc"]["value"] == 0
    assert "Next to other" in text


def test_hard_cases_are_measured_beside_the_films_as_they_are(tmp_path, evaluation_of):
    document, text = evaluation_of(folder_of(tmp_path, EXPERT, split="val"), hard_films=2)
    hard = document["hard_cases"]
    assert (hard["films"], hard["positives"]) == (2, 1)
    (name,) = list(CASES)[:1]
    assert [(each["case"], each["strength"]) for each in hard["cases"]] == [
        ("as they are", ""),
        (name, "1.4"),
        (name, "2"),
        (name, "3"),
    ]
    unchanged, *_, strongest = (each["dice_positive"] for each in hard["cases"])
    assert unchanged["low"] <= unchanged["value"] <= unchanged["high"]
    assert unchanged["value"] > 0.9
    assert strongest["value"] == 0  # so dark that nothing is bright
    assert "2 of the films (1 positive)" in text
    assert f"| {name} | 3 | " in text


READERS = {
    "negative": MaskKind.READER,
    "drawn": MaskKind.READER,
    "agreed": MaskKind.READER_AGREED,
    "said": MaskKind.READER_LABEL,
}


def test_readers_answers_have_no_goals_and_only_what_they_drew_is_outlined(tmp_path, evaluation_of):
    document, text = evaluation_of(folder_of(tmp_path, READERS | {"expert": MaskKind.EXPERT}), readers=True)
    assert (document["labels"], document["films"], document["positives"]) == ("reader", 4, 3)
    assert document["outlined"] == 1
    assert "goals" not in document
    assert "4 films labelled by readers of the page, 3 with a pneumothorax" in text


def test_hard_cases_of_readers_answers_without_any_outline_have_no_dice(tmp_path, evaluation_of):
    kinds = {name: READERS[name] for name in ("negative", "agreed", "said")}
    document, text = evaluation_of(folder_of(tmp_path, kinds), readers=True, hard_films=4)
    assert {each["dice_positive"]["value"] for each in document["hard_cases"]["cases"]} == {None}
    assert document["hard_cases"]["cases"][0]["auc"]["value"] == 1
    assert document["by_size"] == []
    assert "nan" not in text


KNOWN = {MaskKind.EXPERT, MaskKind.MATCHED, MaskKind.CONSENSUS, MaskKind.READER}


@pytest.mark.parametrize("kind", MaskKind)
def test_a_prepared_film_may_be_compared_with_an_outline_that_is_known_and_not_the_models(tmp_path, kind):
    data = folder_of(tmp_path, {"film": kind, "negative": MaskKind.EXPERT}, view="AP")
    film, negative = prepared_films(read_index(data))
    assert (film.name, film.group, film.positive, film.view) == ("film", "p-film", True, View.AP)
    assert film.outlined == (kind in KNOWN)
    mask = film_and_mask(0, positive=True)[1] > 0
    assert film.truth.sum() == (0 if kind.endswith("label-only") else mask.sum())
    assert np.array_equal(film.truth, mask) or not film.truth.any()
    assert negative.outlined
    assert negative.truth.shape == (1024, 1024)
    assert not negative.truth.any()


def test_a_prediction_keeps_what_is_known_of_its_film_at_the_size_of_its_truth():
    pixels, truth = film_and_mask(0, positive=True)
    known = KnownFilm("film", "patient", True, View.AP, np.float32(pixels / 255), truth > 0, outlined=False)
    small = replace(known, pixels=cv2.resize(known.pixels, (64, 32)))
    for each in (known, small):
        (found,) = predict_films(Detector(WEIGHTS, BrightIsAir()), [each])
        assert (found.name, found.group, found.positive, found.view) == ("film", "patient", True, View.AP)
        assert (found.outlined, found.shape) == (False, (128, 128))
        assert metrics.dice(outline(found, Thresholds.of(POINTS[1])), found.truth) > 0.9


def test_nobody_can_change_a_figure_that_another_may_hold():
    assert [record for record in records_of("ptx_app.evaluation") if not record.__dataclass_params__.frozen] == []


def test_films_to_make_harder_are_drawn_from_both_labels_and_always_the_same():
    films = [
        LabelledFilm(str(n), "val", n % 3 == 0, MaskKind.EXPERT, None, View.PA, None, None)  # type: ignore[arg-type]
        for n in range(30)
    ]
    chosen = drawn(films, 8)
    assert [film.positive for film in chosen] == [True] * 4 + [False] * 4
    assert drawn(films, 8) == drawn(films, 8, seed=1) == chosen != drawn(films, 8, seed=2)
    assert [film.positive for film in drawn(films, 7)] == [True] * 4 + [False] * 4
    assert len(drawn(films, 60)) == 30
