"""What the page says about a verdict: grades, counts with intervals, the worth of a flag, and the report's text."""

import re
from dataclasses import replace

import numpy as np
import pytest

from ptx_app.film.radiograph import FilmNote, View
from ptx_app.inference.decide import Side, Thresholds, decide
from ptx_app.inference.measure import Place, SideMeasure, measure
from ptx_app.inference.predict import Prediction
from ptx_app.model.manifest import OperatingPoint, load_manifest
from ptx_app.output.feedback import PackedMask, Reading
from ptx_app.output.setting import Setting
from ptx_app.ui import messages
from ptx_app.ui.about_texts import limits

POINT = OperatingPoint(
    name="balanced",
    score=0.5,
    mask_threshold=0.5,
    smallest_region=0.0,
    sensitivity=0.9667,
    specificity=0.9,
    sensitivity_interval=(0.886, 0.991),
    specificity_interval=(0.84, 0.94),
    films=260,
    positives=60,
    measured_on="films",
)


def found(score: float, outlined: bool = True):
    probability = np.zeros((100, 100), np.float32)
    if outlined:
        probability[20:40, 70:90] = 0.9
    return decide(Prediction(score, probability, 0.0), (100, 100), Thresholds.of(POINT))


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.9, "Pneumothorax flagged"),
        (0.55, "Borderline, flagged"),
        (0.45, "Borderline, none flagged"),
        (0.1, "None flagged"),
    ],
)
def test_verdicts(score, words):
    assert messages.verdict(found(score)) == words


def test_a_flag_without_a_region_sends_nobody_hunting_for_one():
    finding = found(0.9, outlined=False)
    said = messages.where(finding)
    assert said.startswith("No region can be outlined")
    outlines = limits(load_manifest().entry()).partition("<h3>What the outline means</h3>")[2]
    for text in (said, messages.hint(finding, View.PA), outlines):
        assert text
        assert not {"lower", "raise", "watch"} & set(re.findall(r"[a-z]+", text.lower()))


@pytest.mark.parametrize(
    ("finding", "said"),
    [
        (found(0.9), "An area on a film is not a volume."),
        (found(0.9, outlined=False), "Heat map (H) and Why (Y) show what the score may come from."),
        (found(0.1), "Small pneumothoraces are missed most often."),
    ],
)
def test_a_size_is_said_to_be_no_volume_only_where_there_is_one(finding, said):
    assert messages.hint(finding, View.PA) == said
    assert messages.hint(finding, View.AP) == f"{said} AP films are read less well than PA films."


@pytest.mark.parametrize("score", [POINT.score - 1e-4, POINT.score])
def test_of_a_borderline_film_neither_verdict_is_to_be_trusted(score):
    assert messages.hint(found(score), View.PA).startswith("The score is close to the threshold: trust neither")


def test_rates_are_counts_with_intervals():
    said = messages.stated_rates(POINT, Thresholds.of(POINT))
    assert "58 of 60 films with a pneumothorax were flagged (95 % interval 89 to 99 %)" in said
    assert "180 of 200 without were not (95 % interval 84 to 94 %)" in said
    by_hand = Thresholds(0.4, 0.5, 0.0)
    assert "set by hand" in messages.stated_rates(POINT, by_hand)


@pytest.mark.parametrize(
    ("prevalence", "flagged", "others"),
    [(0.2, "71 %", "0.9 %"), (0.05, "34 %", "0.2 %"), (0.01, "9 %", "less than 0.1 %")],
)
def test_what_a_flag_is_worth_depends_on_how_many_films_have_one(prevalence, flagged, others):
    said = messages.worth_of_a_flag(POINT, prevalence)
    assert said == f"Then {flagged} of flagged films have a pneumothorax, and so do {others} of the others."


@pytest.mark.parametrize(
    ("sensitivity", "specificity", "known"),
    [(0.0, 1.0, False), (1.0, 0.0, False), (None, None, False), (0.0, 0.9, True), (1.0, 1.0, True), (0.9, 0.0, True)],
)
def test_where_none_or_all_films_were_flagged_a_flag_is_worth_nothing_that_is_known(sensitivity, specificity, known):
    point = POINT.model_copy(update={"sensitivity": sensitivity, "specificity": specificity})
    assert bool(messages.worth_of_a_flag(point, 0.05)) == known


def test_an_interval_does_not_read_as_all_or_none_unless_it_is():
    point = POINT.model_copy(update={"specificity_interval": (0.904, 0.9971), "sensitivity_interval": (0.002, 1.0)})
    said = messages.stated_rates(point, Thresholds.of(point))
    assert "(95 % interval 90 to 99.7 %)" in said
    assert "(95 % interval 0.2 to 100 %)" in said


def test_the_report_has_technique_finding_measurement_and_limits():
    setting = Setting.of(load_manifest().entry(), POINT, Thresholds.of(POINT), "OpenVINO")
    finding = found(0.9)
    lines = messages.report_text(finding, measure(finding, None, None), setting, View.PA).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["Technique", "Finding", "Measurement", "Limits"]
    assert "PA chest film" in lines[0]
    assert lines[2] == "Measurement: score 0.900. Left: 4.0 % of the film's area."
    assert "not a volume" in lines[3]
    answered = Reading.disagree(finding, setting)
    noted = messages.report_text(finding, (), setting, View.AP, [FilmNote("AP", "An AP film.")], answered).splitlines()
    assert noted[3] == "Reader: disagrees, no pneumothorax."
    at_another_threshold = messages.report_text(found(0.1), (), setting, View.PA, (), answered).splitlines()
    assert at_another_threshold[3] == "Reader: agrees, no pneumothorax."
    by_hand = Setting.of(load_manifest().entry(), POINT, replace(Thresholds.of(POINT), score=0.7), "OpenVINO")
    assert "with thresholds set by hand (score threshold 0.700, " in messages.report_text(finding, (), by_hand, View.PA)
    assert "An AP film." in noted[4]
    unknown = messages.report_text(found(0.1), (), setting, View.UNKNOWN).splitlines()
    assert unknown[0].startswith("Technique: Chest film,")
    assert unknown[2] == "Measurement: score 0.100."


def test_the_readers_own_contour_is_said_with_side_and_size():
    setting = Setting.of(load_manifest().entry(), POINT, Thresholds.of(POINT), "OpenVINO")
    finding, mask = found(0.9), np.zeros((100, 100), bool)
    mask[20:30, 60:80] = True
    drawn = Reading.contour(PackedMask.of(mask), (Side.LEFT,), finding, setting)
    where = "left side of the patient (right of the picture), 2.0 % of the film's area."
    assert messages.reading(drawn, finding.thresholds) == f"Your contour: {where}"
    told = messages.report_text(finding, (), setting, View.PA, (), drawn).splitlines()
    assert told[3] == f"Reader: own contour, a pneumothorax: {where}"
    nothing = Reading.contour(PackedMask.of(np.zeros_like(mask)), (), finding, setting)
    assert messages.reading(nothing, finding.thresholds) == "Your contour is empty: no pneumothorax."
    told = messages.report_text(finding, (), setting, View.PA, (), nothing).splitlines()
    assert told[3] == "Reader: own contour, no pneumothorax."


def test_it_is_said_that_files_hold_the_models_result_where_the_readers_is_another():
    setting = Setting.of(load_manifest().entry(), POINT, Thresholds.of(POINT), "OpenVINO")
    finding = found(0.9)
    drawn, empty = (PackedMask.of(np.full((100, 100), pixels)) for pixels in (True, False))
    assert messages.whose(None) == messages.whose(Reading.agree(finding, setting)) == ""
    for answered in (Reading.disagree(finding, setting), Reading.contour(empty, (), finding, setting)):
        assert "the model’s result, not your answer" in messages.whose(answered)
    assert "the model’s outline, not yours" in messages.whose(Reading.contour(drawn, (Side.LEFT,), finding, setting))


def test_sizes_are_said_as_far_as_they_are_known():
    whole = SideMeasure(Side.LEFT, 0.04, 0.2, (Place.APICAL, Place.LATERAL), (Place.APICAL,), 21.4, 10.2, 27.0)
    assert messages.size(whole) == (
        "Left, apical and lateral: 4.0 % of the film's area, 20.0 % of the hemithorax's area, apical 21 mm, "
        "lateral 10 mm. Collins estimate 27 % of the volume, if the film is erect PA."
    )
    assert "apical 21 mm, lateral 10 mm at the detector. " in messages.size(replace(whole, at_detector=True))
    no_spacing = SideMeasure(Side.RIGHT, 0.04, 0.2, (Place.BASAL,))
    assert messages.size(no_spacing) == "Right, basal: 4.0 % of the film's area, 20.0 % of the hemithorax's area."
