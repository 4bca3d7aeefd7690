"""A finding as DICOM objects: valid, opened by others, on the film's pixels, and with or without the patient."""

import io
import logging
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from ptx_app.errors import FilmError
from ptx_app.film import read_film
from ptx_app.film.radiograph import Box, grey_picture
from ptx_app.film.reading import read_source
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.film.source import SourceReference, facts_of, source_of
from ptx_app.inference.decide import Side, Thresholds, decide
from ptx_app.inference.predict import Prediction
from ptx_app.model.manifest import load_manifest
from ptx_app.output.dicom.objects import dicom_objects
from ptx_app.output.outline import outlines
from ptx_app.output.pictures import overlay_picture
from ptx_app.output.setting import Setting
from ptx_app.privacy import _LOGGERS
from tests.support.films import dicom_of
from tests.support.marked_films import marked_dicom, marked_jpeg, marked_png, markers_in

SHAPE = (200, 160)
WEIGHTS = load_manifest().entry()
PATIENT = {
    "PatientName": "Doe^Jane",
    "PatientID": "HOSP-4711",
    "PatientBirthDate": "19700203",
    "PatientSex": "F",
    "StudyInstanceUID": "1.2.3.4",
    "SeriesInstanceUID": "1.2.3.4.5",
    "StudyDate": "20200102",
    "StudyTime": "101112",
    "StudyID": "S1",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "Roe^Richard",
    "PatientOrientation": ["L", "F"],
}
NO_DCIODVFY = "dciodvfy (package dicom3tools) is not installed"
NO_DCMTK = "dcmtk is not installed"


def grey(shape=SHAPE) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (0.1 + 0.8 * (rows + columns) / sum(shape)).astype(np.float32)


def lut(first: int, entries: int, **more: object) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [entries, first, 16]
    item.LUTData = np.linspace(0, 65535, entries).astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    for keyword, value in more.items():
        setattr(item, keyword, value)
    return item


def film(**tags: object) -> bytes:
    with disable_value_validation():
        return dicom_of(grey(), **PATIENT | tags)


def coloured() -> bytes:
    form = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    return film(**form, **bits, PixelData=np.repeat((grey() * 255).astype(np.uint8), 3).tobytes())


def without(data: bytes, *keywords: str) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    for keyword in keywords:
        if keyword in dataset:
            delattr(dataset, keyword)
    written = io.BytesIO()
    pydicom.dcmwrite(written, dataset)
    return written.getvalue()


def png(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    written = io.BytesIO()
    Image.fromarray((grey() * 255).astype(np.uint8)).save(written, "PNG", exif=exif)
    return written.getvalue()


# Asymmetrical, on both sides, with a hole and a single speck, so that any turn, flip or shift would show.
PROBABILITY = np.zeros((64, 64), np.float32)
PROBABILITY[4:20, 6:18] = 0.9
PROBABILITY[9:13, 9:12] = 0.1
PROBABILITY[30:33, 40:61] = 0.9
PROBABILITY[55, 44] = 0.9


def found(radiograph, score=0.93, field=None):
    probability = PROBABILITY if score < 0.94 else np.zeros_like(PROBABILITY)
    return decide(Prediction(score, probability, 0.0, field=field), radiograph.shape, Thresholds(0.5, 0.5, 0.0))


def made(data: bytes, *, identified=False, score=0.93, field=None) -> dict[str, bytes]:
    radiograph = read_film(data)
    finding = found(radiograph, score, field)
    setting = Setting(WEIGHTS, "balanced", finding.thresholds, "OpenVINO")
    return dicom_objects(radiograph, finding, setting, read_source(data) if identified else None)


def opened(objects: dict[str, bytes]) -> dict[str, pydicom.FileDataset]:
    return {kind: pydicom.dcmread(io.BytesIO(data)) for kind, data in objects.items()}


LUTS = {"ModalityLUTSequence": [lut(0, 4096, ModalityLUTType="US")], "VOILUTSequence": [lut(0, 65536 // 2)]}
SOURCES = {
    "plain": film(),
    "low is white": film(PhotometricInterpretation="MONOCHROME1"),
    "spacing": film(PixelSpacing=[2, 2], ImagerPixelSpacing=[2, 2]),
    "odd spacing": film(PixelSpacing=[0.001, 0.001]),
    "rescaled": film(RescaleSlope="2", RescaleIntercept="-1024", WindowCenter=60000, WindowWidth=120000),
    "signed": film(PixelRepresentation=1, WindowCenter=0),
    "tables": film(**LUTS),
    "sigmoid": film(VOILUTFunction="SIGMOID"),
    "no window": without(film(), "WindowCenter", "WindowWidth"),
    "umlauts": film(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg^^Dr."),
    "Greek": film(SpecificCharacterSet="ISO_IR 126", PatientName="Διονυσιος"),
    "Japanese": film(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "Chinese": film(SpecificCharacterSet="GB18030", PatientName="Wang^XiaoDong=王^小东"),
    "long": film(PatientName="X" * 200, AccessionNumber="A" * 40, StudyDescription="D" * 200, StudyID="S" * 17),
    "wrong values": film(
        PatientSex="female", PatientBirthDate="1970", StudyDate="yesterday", StudyTime="noon", PatientOrientation="?"
    ),
    "several names": film(PatientName="Doe^Jane^M^Dr.^MD^and more\\Doe^Joan"),
    "private": film(),
    "empty": film(**dict.fromkeys(set(PATIENT) - {"StudyInstanceUID", "SeriesInstanceUID"}, "")),
    "lateral": film(ViewPosition="LL"),
    "burned in": film(BurnedInAnnotation="YES"),
    "multi-frame class": film(SOPClassUID="1.2.840.10008.5.1.4.1.1.7.3", NumberOfFrames=1, Modality="OT"),
    "all markers": marked_dicom(),
}
private = pydicom.dcmread(io.BytesIO(SOURCES["private"]))
private.private_block(0x0009, "MAKER", create=True).add_new(1, "LO", "Doe")
_written = io.BytesIO()
private.save_as(_written)
SOURCES["private"] = _written.getvalue()
PICTURES = {"PNG": png(), "turned PNG": png(6), "JPEG": marked_jpeg(), "marked PNG": marked_png()}


@pytest.fixture(scope="module")
def objects() -> dict[str, dict[str, bytes]]:
    """Objects of every kind of film, by a name of the film and the form."""
    of = {f"{name}, identified": made(data, identified=True) for name, data in SOURCES.items()}
    of |= {f"{name}, de-identified": made(data) for name, data in (SOURCES | PICTURES).items()}
    for score in (0.1, 0.95):  # not flagged, and flagged without a region
        of |= {
            f"{score}": made(film(), score=score),
            f"{score}, identified": made(film(), identified=True, score=score),
        }
    return of


def test_every_kind_of_object_is_made(objects):
    for name, each in objects.items():
        kinds = ["seg", "sc", "sr", "gsps", *([] if ", identified" in name else ["film"])]
        assert list(each) == kinds, name
        assert {kind: dataset.Modality for kind, dataset in opened(each).items() if kind in ("seg", "sr", "gsps")} == {
            "seg": "SEG",
            "sr": "SR",
            "gsps": "PR",
        }


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason=NO_DCIODVFY)
def test_dciodvfy_finds_no_error(objects, tmp_path):
    complaints = {}
    for name, each in objects.items():
        for kind, data in each.items():
            (tmp_path / kind).write_bytes(data)
            said = subprocess.run(
                ["dciodvfy", tmp_path / kind], capture_output=True, text=True, errors="replace"
            ).stderr
            assert "Segmentation\n" in said or kind != "seg"
            if errors := [line for line in said.splitlines() if line.startswith(("Error", "Abort"))]:
                complaints[name, kind] = errors
    assert complaints == {}


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason=NO_DCIODVFY)
def test_dciodvfy_would_find_an_error(objects, tmp_path):
    dataset = opened(objects["plain, identified"])["seg"]
    del dataset.SegmentSequence
    dataset.save_as(tmp_path / "seg")
    assert "Error" in subprocess.run(["dciodvfy", tmp_path / "seg"], capture_output=True, text=True).stderr


@pytest.mark.skipif(not shutil.which("dsrdump"), reason=NO_DCMTK)
def test_dcmtk_opens_them(objects, tmp_path):
    for name in ("plain, identified", "plain, de-identified", "0.1", "0.95", "Japanese, identified"):
        for kind, data in objects[name].items():
            (tmp_path / kind).write_bytes(data)
            subprocess.run(["dcmdump", tmp_path / kind], check=True, capture_output=True)
        said = subprocess.run(["dsrdump", tmp_path / "sr"], check=True, capture_output=True, text=True).stdout
        assert ("Pneumothorax" in said) == (name != "0.1") or "Score of the model" in said
        assert ("with findings" in said, "without findings" in said) == (name != "0.1", name == "0.1")


@pytest.mark.skipif(not shutil.which("dcmp2pgm"), reason=NO_DCMTK)
@pytest.mark.parametrize("name", ["plain", "low is white", "rescaled", "signed", "tables"])
def test_dcmtk_shows_the_film_through_the_presentation_state_as_the_page_does(name, objects, tmp_path):
    shown = grey_picture(read_film(SOURCES[name]).pixels)
    for form, image in (("identified", SOURCES[name]), ("de-identified", objects[f"{name}, de-identified"]["film"])):
        (tmp_path / "film").write_bytes(image)
        (tmp_path / "state").write_bytes(objects[f"{name}, {form}"]["gsps"])
        words = ["dcmp2pgm", "-p", tmp_path / "state", tmp_path / "film", tmp_path / "shown.pgm"]
        subprocess.run(words, check=True, capture_output=True)
        seen = cv2.imread(str(tmp_path / "shown.pgm"), cv2.IMREAD_UNCHANGED)
        assert np.abs(seen.astype(int) - shown).max() <= 2, form


@pytest.mark.parametrize(
    "data", [SOURCES["plain"], SOURCES["low is white"], *PICTURES.values()], ids=["DICOM", "MONOCHROME1", *PICTURES]
)
def test_the_segmentation_lies_on_the_film_to_the_pixel(data):
    radiograph = read_film(data)
    each = opened(made(data))
    mask = found(radiograph).mask
    assert mask.any()
    assert np.array_equal(each["seg"].pixel_array.any(axis=0), mask)
    assert np.abs(each["film"].pixel_array / 65535 - radiograph.pixels).max() < 1e-5
    assert np.abs(read_film(made(data)["film"]).pixels - radiograph.pixels).max() < 1e-4
    assert each["seg"].pixel_array.shape[1:] == each["film"].pixel_array.shape
    overlay = overlay_picture(grey_picture(radiograph.pixels), found(radiograph))
    assert np.array_equal(each["sc"].pixel_array[: len(overlay)], overlay)
    assert each["sc"].pixel_array[len(overlay) :].max() > 200, "a caption stands below"


def test_a_film_inside_a_frame_is_segmented_in_the_whole_picture():
    field = Box(20, 30, 180, 140)
    data = film()
    seg = opened(made(data, identified=True, field=field))["seg"]
    mask = found(read_film(data), field=field).mask
    assert not mask[:20].any()
    assert np.array_equal(seg.pixel_array.any(axis=0), mask)
    assert (seg.Rows, seg.Columns) == SHAPE


def test_a_window_that_would_blank_the_film_is_not_written():
    data = film(WindowCenter=-5000, WindowWidth=10)
    assert "WINDOW_IGNORED" in {warning.code for warning in read_film(data).warnings}
    assert "SoftcopyVOILUTSequence" not in opened(made(data, identified=True))["gsps"]
    assert "SoftcopyVOILUTSequence" in opened(made(film(), identified=True))["gsps"]


def test_each_segment_is_a_side_and_the_report_measures_it():
    data = film()
    each, finding = opened(made(data, identified=True)), found(read_film(data))
    sides = [
        segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0] for segment in each["seg"].SegmentSequence
    ]
    assert [side.CodeMeaning for side in sides] == ["Right", "Left"]
    right, left = each["seg"].pixel_array.astype(bool)
    assert not right[:, 80:].any()
    assert not left[:, :80].any()
    groups = _numbers(each["sr"])
    assert groups[0] == {
        "Score of the model, from 0 to 1": pytest.approx(0.93, abs=1e-6),
        "Share of the film's area": pytest.approx(finding.share * 100, abs=1e-4),
    }
    shares = [sum(region.share for region in finding.regions if region.side == side) * 100 for side in Side][:2]
    assert [group["Share of the film's area"] for group in groups[1:]] == pytest.approx(shares, abs=1e-4)


def _numbers(report: Dataset) -> list[dict[str, float]]:
    """Name and value of the measurements of each group."""
    (measurements,) = (i for i in report.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "126010")
    return [
        {
            item.ConceptNameCodeSequence[0].CodeMeaning: float(item.MeasuredValueSequence[0].NumericValue)
            for item in group.ContentSequence
            if item.ValueType == "NUM"
        }
        for group in measurements.ContentSequence
    ]


def test_the_codes_are_those_of_the_standard(objects):
    each = opened(objects["plain, de-identified"])
    (first, *_) = each["seg"].SegmentSequence
    kind, category = first.SegmentedPropertyTypeCodeSequence[0], first.SegmentedPropertyCategoryCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning) == ("36118008", "SCT", "Pneumothorax")
    assert category.CodeValue == "49755003"
    assert first.AnatomicRegionSequence[0].CodeValue == "3120008"
    assert each["sr"].ContentTemplateSequence[0].TemplateIdentifier == "1500"
    findings = [i.ConceptCodeSequence[0].CodeValue for i in _items(each["sr"]) if _name(i) == "121071"]
    assert findings == ["36118008"] * 3
    assert not [i for i in _items(opened(objects["0.1"])["sr"]) if _name(i) == "121071"], (
        "none is said if none was found"
    )


def _items(item: Dataset):
    for inner in item.get("ContentSequence", ()):
        yield inner
        yield from _items(inner)


def _name(item: Dataset) -> str:
    return item.ConceptNameCodeSequence[0].CodeValue if "ConceptNameCodeSequence" in item else ""


def test_one_film_does_not_change_the_codes_of_the_next():
    first = opened(made(film()))["sr"]
    second = opened(made(film(), score=0.95))["seg"]
    assert "AnatomicRegionModifierSequence" not in second.SegmentSequence[0].AnatomicRegionSequence[0]
    sites = [i.ConceptCodeSequence[0] for i in _items(first) if _name(i) == "363698007"]
    assert sites
    assert not any("AnatomicRegionModifierSequence" in site for site in sites)


def test_every_object_names_its_setting(objects):
    for name in ("plain, identified", "plain, de-identified", "0.1"):
        for kind, dataset in opened(objects[name]).items():
            if kind == "film":
                continue
            said = dataset.ContributingEquipmentSequence[0].ContributionDescription
            for fact in (
                "operating_point=balanced",
                "score_threshold=0.5",
                "mask_threshold=0.5",
                "smallest_region=0.0",
            ):
                assert fact in said, (name, kind)
            assert f"weights={WEIGHTS.name}" in said
            assert WEIGHTS.sha256 in said


def test_identified_objects_refer_to_the_film_in_the_patients_study(objects):
    source = pydicom.dcmread(io.BytesIO(SOURCES["plain"]))
    for kind, dataset in opened(objects["plain, identified"]).items():
        for keyword in set(PATIENT) - {"SeriesInstanceUID", "PatientOrientation"}:
            assert dataset[keyword].value == source[keyword].value, (kind, keyword)
        assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
        assert _classes(dataset, source.SOPInstanceUID) == {source.SOPClassUID}
        if kind != "sc":
            assert _referenced(dataset) >= {str(source.SOPInstanceUID), "1.2.3.4.5"}


def test_deidentified_objects_refer_to_their_own_film_and_to_nothing_else(objects):
    for name in ("plain, de-identified", "turned PNG, de-identified", "0.1"):
        each = opened(objects[name])
        own = {str(dataset.SOPInstanceUID) for dataset in each.values()}
        assert len({dataset.StudyInstanceUID for dataset in each.values()}) == 1
        assert len({dataset.PatientID for dataset in each.values()}) == 1
        assert len(own) == len({dataset.SeriesInstanceUID for dataset in each.values()}) == 5
        for kind in ("seg", "sc", "sr", "gsps"):
            instances = _instances(each[kind])
            assert str(each["film"].SOPInstanceUID) in instances
            assert instances <= own


def _referenced(dataset: Dataset) -> set[str]:
    return {
        str(element.value)
        for element in dataset.iterall()
        if element.keyword in ("ReferencedSOPInstanceUID", "SeriesInstanceUID")
    }


def _classes(dataset: Dataset, instance: str) -> set[str]:
    """The classes by which a data set refers to an instance."""
    here = {dataset.ReferencedSOPClassUID} if dataset.get("ReferencedSOPInstanceUID") == instance else set()
    inner = [item for element in dataset if element.VR == "SQ" for item in element.value]
    return here.union(*(_classes(item, instance) for item in inner))


def _instances(dataset: Dataset) -> set[str]:
    return {str(element.value) for element in dataset.iterall() if element.keyword == "ReferencedSOPInstanceUID"}


def test_the_same_film_is_the_same_pseudonymous_film_and_another_is_another(objects):
    again = opened(made(without(film(PatientName="Other^Name", StudyInstanceUID=generate_uid()), "PatientID")))
    first, other = opened(objects["plain, de-identified"]), opened(objects["low is white, de-identified"])
    for keyword in ("PatientID", "StudyInstanceUID"):
        assert {dataset[keyword].value for dataset in (*first.values(), *again.values())} == {
            first["film"][keyword].value
        }
        assert other["film"][keyword].value != first["film"][keyword].value
    assert objects["plain, de-identified"]["film"] == made(SOURCES["plain"], score=0.1)["film"]
    assert first["film"].SOPInstanceUID == again["film"].SOPInstanceUID
    assert first["seg"].SOPInstanceUID != again["seg"].SOPInstanceUID


def test_nothing_of_the_source_is_in_the_deidentified_objects(objects):
    for name in ("all markers", "marked PNG", "JPEG"):
        for kind, data in objects[f"{name}, de-identified"].items():
            assert not markers_in(data), (name, kind)
    for name in SOURCES:
        for kind, data in objects[f"{name}, de-identified"].items():
            assert not any(said in data for said in (b"Doe", b"HOSP", b"1.2.3.4", b"Roe")), (name, kind)
            assert not opened({kind: data})[kind].StudyDate


def test_identified_objects_hold_only_what_docs_say(objects):
    kept = {
        "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
        "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName",
        "SeriesInstanceUID", "ReferencedSOPInstanceUID", "TrackingUID", "ReferencedFrameOfReferenceUID",
    }  # fmt: skip
    for kind, data in objects["all markers, identified"].items():
        dataset = opened({kind: data})[kind]
        marked = {e.keyword for e in dataset.iterall() if e.VR != "SQ" and markers_in(str(e.value))}
        assert "PatientName" in marked
        assert marked <= kept, kind
        assert not markers_in(str(dataset.file_meta))


@pytest.mark.parametrize(
    ("name", "patient", "referring"),
    [
        ("umlauts", "Müller^Jörg^^Dr.", "Roe^Richard"),
        ("Greek", "Διονυσιος", "Roe^Richard"),
        ("Japanese", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Roe^Richard"),
        ("Chinese", "Wang^XiaoDong=王^小东", "Roe^Richard"),
        ("long", "X" * 64, "Roe^Richard"),
        ("several names", "Doe^Jane^M^Dr.^MD", "Roe^Richard"),
        ("empty", "", ""),
    ],
)
def test_names_are_kept_in_their_own_script(name, patient, referring, objects):
    for dataset in opened(objects[f"{name}, identified"]).values():
        assert str(dataset.PatientName or "") == patient
        assert str(dataset.ReferringPhysicianName or "") == referring


def test_values_that_dicom_does_not_allow_are_left_empty(objects):
    for dataset in opened(objects["wrong values, identified"]).values():
        assert not any(
            dataset[keyword].value for keyword in ("PatientSex", "PatientBirthDate", "StudyDate", "StudyTime")
        )
    for dataset in opened(objects["long, identified"]).values():
        assert not dataset.AccessionNumber
        assert not dataset.StudyID
        assert "StudyDescription" not in dataset


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (without(film(), "StudyInstanceUID"), "SOURCE_UNIDENTIFIED"),
        (film(SeriesInstanceUID=""), "SOURCE_UNIDENTIFIED"),
        (film(StudyInstanceUID="1.02.x"), "SOURCE_UNIDENTIFIED"),
        (film(StudyInstanceUID="1." + "2" * 70), "SOURCE_UNIDENTIFIED"),
        (film(PatientID="7" * 65), "SOURCE_PATIENT_ID"),
        (
            coloured(),
            "SOURCE_COLOUR",
        ),
    ],
    ids=["no study", "empty series", "no UID", "long UID", "long ID", "colour"],
)
def test_a_film_that_cannot_be_referred_to_is_a_clear_error_and_can_be_exported_deidentified(data, code):
    with pytest.raises(FilmError) as raised:
        read_source(data)
    assert raised.value.code == code
    assert "de-identified" in raised.value.message
    assert "777" not in raised.value.message
    assert "film" in made(data)


def test_every_logger_of_highdicom_is_silenced_as_they_quote_uids():
    made(film())
    loggers = {name for name, each in logging.root.manager.loggerDict.items() if isinstance(each, logging.Logger)}
    theirs = {name for name in loggers if name.startswith("highdicom")}
    assert "highdicom.base" in theirs
    assert theirs <= set(_LOGGERS)


def test_pictures_have_no_source():
    assert all(read_source(data) is None for data in PICTURES.values())


def test_the_sandbox_reads_the_same_source_and_says_the_same_errors():
    with SandboxedReader(processes=1) as reader:
        for name in ("plain", "tables", "Japanese", "sigmoid", "no window"):
            assert facts_of(reader.read_source(SOURCES[name])) == facts_of(read_source(SOURCES[name]))
        assert reader.read_source(PICTURES["PNG"]) is None
        with pytest.raises(FilmError) as raised:
            reader.read_source(film(SeriesInstanceUID=""))
        assert raised.value.code == "SOURCE_UNIDENTIFIED"
        assert reader.read(film()).shape == SHAPE


@pytest.mark.parametrize(
    "change",
    [
        {"study_instance_uid": "../../etc"},
        {"sop_class_uid": None},
        {"person": {"patient_name": "X" * 1000}},
        {"person": {"patient_name": 5}},
    ],
)
def test_a_reference_from_a_reader_that_lies_is_not_taken(change):
    source = read_source(film())
    assert isinstance(source, SourceReference)
    with pytest.raises(ValueError, match="reference"):
        source_of(facts_of(source) | change)


def test_a_source_of_another_size_is_not_taken():
    radiograph = read_film(film())
    source = read_source(film())
    assert source is not None
    finding = found(radiograph)
    with pytest.raises(ValueError, match="size"):
        dicom_objects(
            radiograph, finding, Setting(WEIGHTS, "x", finding.thresholds, "OpenVINO"), replace(source, rows=7)
        )


def test_spacing_is_told_only_where_it_can_be_believed(objects):
    assert opened(objects["spacing, de-identified"])["film"].PixelSpacing == [2, 2]
    assert opened(objects["spacing, identified"])["sc"].PixelSpacing == [2, 2]
    assert "PixelSpacing" not in opened(objects["odd spacing, de-identified"])["film"]


def test_burned_in_text_is_said_and_the_picture_is_not_called_deidentified(objects):
    for kind, dataset in opened(objects["burned in, de-identified"]).items():
        shows = kind in ("film", "sc")
        assert dataset.get("BurnedInAnnotation") == ("YES" if shows else None)
        assert dataset.get("PatientIdentityRemoved") == (None if shows else "YES")


def covered(lines: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """The pixels whose centres lie inside, counted by crossings."""
    crossings = np.zeros(shape, int)
    for line in lines:
        for (x, top), (_, bottom) in pairwise(line):
            low, high = sorted((int(top), int(bottom)))
            crossings[low:high, int(x) :] += 1
    return crossings % 2 == 1


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=12)), st.integers(3, 50))
@settings(max_examples=60, deadline=None)
def test_outlines_enclose_exactly_the_mask(mask, most):
    lines = outlines(mask, most)
    assert np.array_equal(covered(lines, mask.shape), mask)
    assert all(2 <= len(line) <= most for line in lines)
    assert all((np.diff(line, axis=0) == 0).any(axis=1).all() for line in lines), "not along the pixels' edges"


def test_long_outlines_are_written_in_pieces():
    radiograph = read_film(film())
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    mask = ((rows + columns) % 4 < 2) | (rows == 100)
    finding = replace(found(radiograph), mask=mask)
    setting = Setting(WEIGHTS, "own", finding.thresholds, "OpenVINO")
    state = opened(dicom_objects(radiograph, replace(finding, regions=()), setting))["gsps"]
    drawn = list(state.GraphicAnnotationSequence[0].GraphicObjectSequence)
    lines = [np.reshape(item.GraphicData, (-1, 2)) for item in drawn]
    assert max(map(len, lines)) == 65534 // 8
    assert all(item["GraphicData"].VR == "FL" for item in drawn)
    assert np.array_equal(covered(lines, mask.shape), mask)
