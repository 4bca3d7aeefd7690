"""README and model card state the figures of the report and the manifest. The report is that of the default weights."""

import json
import re

import pytest

from ptx_app.evaluation.report import markdown, value
from ptx_app.experiments.comparison import comparison_table
from ptx_app.experiments.lung_fields import CrossValidation, Folds, lung_page
from ptx_app.model.manifest import ROOT, load_manifest

REPORT = ROOT / "docs" / "evaluation.json"
README = (ROOT / "README.md").read_text(encoding="utf-8")
CARD = (ROOT / "MODEL_CARD.md").read_text(encoding="utf-8")
SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def document():
    return json.loads(REPORT.read_text(encoding="utf-8"))


def test_the_report_is_of_the_default_weights(document):
    entry = load_manifest().entry()
    assert (document["model"], document["sha256"]) == (entry.name, entry.sha256)
    assert document["flip_averaging"] == entry.flip_averaging
    measured = entry.figures["validation_films"]
    assert document["overall"]["auc"]["value"] == measured.auc
    assert document["overall"]["dice_mean"]["value"] == measured.dice_positive
    for point in entry.operating_points:
        reported = document["operating_points"][point.name]
        assert (reported["sensitivity"]["value"], reported["specificity"]["value"]) == (
            point.sensitivity,
            point.specificity,
        )


def test_the_report_matches_its_json(document):
    text = REPORT.with_suffix(".md").read_text(encoding="utf-8")
    assert text.startswith(markdown(document, {}))


def test_the_page_of_the_lung_fields_matches_its_json():
    document = json.loads((ROOT / "docs" / "lungs.json").read_text(encoding="utf-8"))
    entry = load_manifest().lung_fields
    assert entry is not None
    assert document["sha256"] == entry.sha256
    validation = CrossValidation(document["dice"], Folds(**document["folds"]))
    assert (ROOT / "docs" / "lungs.md").read_text(encoding="utf-8") == lung_page(entry, validation, document["command"])


@pytest.mark.parametrize("name", ["ablation", "encoders"])
def test_each_comparison_matches_its_json(name):
    document = json.loads((ROOT / "docs" / f"{name}.json").read_text(encoding="utf-8"))
    assert (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") == comparison_table(document)


@pytest.mark.parametrize("text", [README, CARD], ids=["README", "card"])
def test_every_goal_is_next_to_its_figure(text, document):
    assert load_manifest().default in text
    for row in document["goals"]:
        assert any(value(row["measured"]) in line and str(row["goal"]) in line for line in text.splitlines()), row


def test_the_card_says_by_how_much_each_goal_is_missed(document):
    for row in document["goals"]:
        missed = f"{row['missed_by']:.3f}" if row["missed_by"] else "met"
        assert any(value(row["measured"]) in line and missed in line for line in CARD.splitlines()), row


def test_the_readme_states_the_figures_of_films_read_as_dicom():
    figures = load_manifest().entry().figures["validation_dicoms"]
    for name in ("auc", "dice_positive"):
        interval = "{:.3f} to {:.3f}".format(*getattr(figures, f"{name}_interval"))
        assert f"{getattr(figures, name):.3f} ({interval})" in README


def test_every_named_file_exists():
    for text in (README, CARD, SECURITY):
        for path in re.findall(r"(?:ptx_app|tests|tools|docs|configs)/[\w./-]+\.\w+|\btest_\w+\.py", text):
            assert (ROOT / path).exists() or (ROOT / "tests" / path).exists(), path


def test_the_readme_says_how_many_films_the_default_flags():
    point = load_manifest().entry().operating_point()
    negatives = point.films - point.positives
    flagged, falsely = round(point.sensitivity * point.positives), round((1 - point.specificity) * negatives)
    said = (
        f"flagged {flagged} of the {point.positives} films with a pneumothorax and {falsely} of the {negatives} without"
    )
    assert said in " ".join(README.split())


def test_the_card_states_the_report_by_point_size_and_view(document):
    for name, point in document["operating_points"].items():
        rates = f"{point['sensitivity']['value']:.3f}, {point['specificity']['value']:.3f}"
        assert any(rates in line for line in CARD.splitlines() if name in line), name
    words = " ".join(CARD.split())
    thirds = [f"{part['dice_mean']['value']:.2f}" for part in document["by_size"]]
    assert f"{thirds[0]}, {thirds[1]} and {thirds[2]}" in words
    views = {part["films"]: part["auc"]["value"] for part in document["by_view"]}
    assert f"AUC {views['AP']:.3f}, against {views['PA']:.3f} on PA" in words
    brier = [document["calibration"][name]["value"] for name in ("brier_before", "brier_after")]
    assert f"{brier[0]:.3f} to {brier[1]:.3f}" in words
