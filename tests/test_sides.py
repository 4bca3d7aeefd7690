"""A film that is not frontal has no known right and left, though the user may overrule the film check."""

import io
import json
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from streamlit.testing.v1 import AppTest

from ptx_app.film.radiograph import FilmNote, Radiograph, is_frontal
from ptx_app.inference.decide import Side, Thresholds, decide
from ptx_app.inference.measure import measure
from ptx_app.inference.predict import Prediction
from ptx_app.model.manifest import ROOT, load_manifest
from ptx_app.model.network import NetworkOutput
from ptx_app.output.dicom.objects import dicom_objects
from ptx_app.output.record import finding_json, side_code
from ptx_app.output.setting import Setting
from ptx_app.pipeline import Detector, Examination
from ptx_app.results import ResultMaker, Wanted
from ptx_app.ui import film_list, messages
from tests.support.films import dicom_of, simulated_film
from tests.test_dicom_objects import PATIENT, PROBABILITY
from tests.test_page import drop, read, visit, words_of

THRESHOLDS = Thresholds(0.5, 0.5, 0.0)
WEIGHTS = load_manifest().entry()
SETTING = Setting(WEIGHTS, "own", THRESHOLDS, "made")
AGAINST_THE_VIEW = ["LATERAL_VIEW", "NOT_FRONTAL_VIEW", "NOT_A_CHEST_FILM", "TURNED_FILM", "MIRRORED"]
OF_SOMETHING_ELSE = ["WRONG_BODY_PART", "WRONG_MODALITY", "INVERTED_FILM", "COLOUR_PICTURE", "BLANK_PICTURE"]
NAMED = (
    "patient's left",
    "patient's right",
    "Left",
    "Right",
    "left side",
    "right side",
    "patient-left",
    "patient-right",
)


def overruled(*codes: str) -> tuple[Radiograph, Prediction]:
    notes = tuple(FilmNote(code, "A reason.") for code in codes)
    radiograph = Radiograph(np.full((128, 128), 0.5, np.float32), rejections=notes)
    return radiograph, Prediction(0.9, PROBABILITY, 0.0, frontal=is_frontal(notes))


@pytest.mark.parametrize("code", AGAINST_THE_VIEW)
def test_no_side_is_named_where_the_view_is_not_frontal(code):
    radiograph, prediction = overruled("WRONG_MODALITY", code)
    finding = decide(prediction, radiograph.shape, THRESHOLDS)
    assert finding.sides == (Side.UNKNOWN,)
    assert len(finding.regions) == 3, "what is found stays"
    assert side_code(finding) == "side-unknown"
    sizes = measure(finding, None, None)
    record = finding_json(finding, SETTING, view=radiograph.view, source_format="", sizes=sizes)
    said = [messages.where(finding), messages.report_text(finding, sizes, SETTING, radiograph.view), record]
    for text in said:
        assert [word for word in NAMED if word in text] == []
        assert "side unknown" in text.lower() or json.loads(text)["side"] == "side-unknown"


@pytest.mark.parametrize("code", OF_SOMETHING_ELSE)
def test_sides_are_named_where_the_rejection_has_nothing_to_do_with_the_view(code):
    radiograph, prediction = overruled(code)
    assert decide(prediction, radiograph.shape, THRESHOLDS).sides == (Side.RIGHT, Side.LEFT)


def test_a_prediction_that_is_scaled_stays_without_sides():
    _, prediction = overruled("LATERAL_VIEW")
    assert not prediction.scaled(0.5, 0.5).frontal


@pytest.mark.parametrize(
    ("code", "named"), [("NOT_FRONTAL_VIEW", False), ("NOT_A_CHEST_FILM", False), ("MODALITY", True)]
)
def test_dicom_objects_name_no_side_and_no_orientation(code, named):
    radiograph, prediction = overruled(code)
    finding = decide(prediction, radiograph.shape, THRESHOLDS)
    objects = dicom_objects(radiograph, finding, SETTING)
    for kind, data in objects.items():
        said = str(pydicom.dcmread(io.BytesIO(data)))
        sides = [word for word in ("'L', 'F'", "7771000", "24028007", "patient's ") if word in said]
        assert bool(sides) == (named and kind != "gsps"), kind
    labels = [each.SegmentLabel for each in pydicom.dcmread(io.BytesIO(objects["seg"])).SegmentSequence]
    assert (labels == ["Pneumothorax, side unknown"]) != named


def test_a_film_with_and_one_without_sides_are_two_pseudonymous_films():
    def film(*codes: str) -> str:
        radiograph, prediction = overruled(*codes)
        made = dicom_objects(radiograph, decide(prediction, radiograph.shape, THRESHOLDS), SETTING)["film"]
        return str(pydicom.dcmread(io.BytesIO(made)).SOPInstanceUID)

    assert film("NOT_FRONTAL_VIEW") == film("NOT_A_CHEST_FILM") != film() == film("WRONG_MODALITY")


class _Everywhere:
    """A network that finds something at both sides of everything."""

    def __call__(self, batch):
        side = WEIGHTS.input.side
        logits = np.full((len(batch), side, side), -9, np.float32)
        logits[:, 100:200, 20:100] = logits[:, 100:200, 250:350] = 9
        return NetworkOutput(logits, np.full(len(batch), 20, np.float32))


@pytest.mark.parametrize(("view", "side"), [("LL", "side-unknown"), ("PA", "both")])
def test_what_the_command_line_writes_of_an_overruled_film(view, side):
    detector = Detector(WEIGHTS, _Everywhere())
    data = dicom_of(simulated_film(), **PATIENT, ViewPosition=view, BodyPartExamined="ABDOMEN")
    setting = Setting.of(WEIGHTS, WEIGHTS.operating_point(), Thresholds.of(WEIGHTS.operating_point()), "made")
    maker = ResultMaker(detector, lambda _: None, Wanted(setting, overrule=True, record=True, dicom=True))
    result = maker.make(data, named_a_film=True)
    assert result.facts["side"] == side
    assert json.loads(result.outputs["_result.json"])["side"] == side
    film = pydicom.dcmread(io.BytesIO(result.outputs["_film.dcm"]))
    assert list(film.PatientOrientation or []) == ([] if view == "LL" else ["L", "F"])


def test_a_picture_that_is_no_chest_film_has_no_side_on_the_command_line():
    noise = Radiograph(np.random.default_rng(0).random((200, 200), np.float32))
    detector = Detector(WEIGHTS, _Everywhere(), read=lambda _: noise)
    setting = Setting.of(WEIGHTS, WEIGHTS.operating_point(), Thresholds.of(WEIGHTS.operating_point()), "made")
    maker = ResultMaker(detector, lambda _: None, Wanted(setting, overrule=True, dicom=True))
    result = maker.make(b"", named_a_film=True)
    assert result.facts["side"] == "side-unknown"
    assert not pydicom.dcmread(io.BytesIO(result.outputs["_film.dcm"])).PatientOrientation


@pytest.mark.parametrize(("tags", "sides"), [({"ViewPosition": "LL"}, False), ({"BodyPartExamined": "HAND"}, True)])
def test_the_page_names_no_side_of_an_overruled_lateral(monkeypatch, tags, sides):
    marks = []
    monkeypatch.setattr("ptx_app.ui.page.viewer", lambda *_, sides=True, **__: marks.append(sides))
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    drop(page, ("film.dcm", dicom_of(simulated_film(), **tags)))
    page.button(key="overrule-1").click()
    read(page.run())
    said = words_of(page) + page.code[0].value
    assert "Pneumothorax flagged" in said
    assert marks[-1] is sides
    assert ("Side unknown: the film is not frontal" in said) != sides
    assert ("side of the patient" in said) == sides
    case = visit(page).current
    listed = film_list.entry(case, replace(THRESHOLDS, score=0.1), chosen=True)
    assert listed.where.startswith("Side unknown") != sides
    assert Examination(case.film.radiograph(), case.film.rejections).radiograph.rejections == case.film.rejections
