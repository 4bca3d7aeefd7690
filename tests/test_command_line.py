"""ptx predict, and that its results on DICOM films are the figures measured in training."""

import csv
import json
import os
import pwd
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from sklearn.metrics import roc_auc_score

from ptx_app.__main__ import main
from ptx_app.audit import Event, Trail
from ptx_app.errors import AuditError
from ptx_app.film import read_film
from ptx_app.film.examples import EXAMPLES
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.inference.decide import Thresholds, decide
from ptx_app.inference.predict import Prediction
from ptx_app.model.manifest import ROOT, load_manifest
from ptx_app.output.pictures import encoded
from ptx_app.output.table import RESULT_COLUMNS
from ptx_app.pipeline import Detector
from ptx_app.results import Result, ResultMaker
from tests.support.films import broken_dicom, ct_slice, dicom_of, real_dicom, simulated_film


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[int, Path]:
    films, output = tmp_path_factory.mktemp("films"), tmp_path_factory.mktemp("output")
    (films / "deep" / "er").mkdir(parents=True)
    (films / "good.dcm").write_bytes(real_dicom())
    (films / "deep" / "er" / "good.dcm").write_bytes(real_dicom())
    (films / "broken.dcm").write_bytes(broken_dicom())
    (films / "slice").write_bytes(ct_slice())
    (films / ".hidden").write_bytes(b"not a film")
    (films / "notes.txt").write_text("No film.")
    (films / "lies.dcm").write_text("No film, but named as one.")
    words = ["--output", str(output), "--probability", "--json", "--dicom", "--operating-point", "specific"]
    status = main(["predict", str(films), *words])
    return status, output


def test_every_file_is_a_row_and_the_exit_status_reports_a_failure(done):
    status, output = done
    rows = {Path(row["file"]).name: row for row in table(output)}
    assert status == 1
    assert tuple(table(output)[0]) == RESULT_COLUMNS
    assert len(table(output)) == 6
    assert (rows["notes.txt"]["status"], rows["notes.txt"]["error_code"]) == ("rejected", "FORMAT_UNKNOWN")
    assert (rows["lies.dcm"]["status"], rows["lies.dcm"]["error_code"]) == ("failed", "FORMAT_UNKNOWN")
    assert rows["broken.dcm"]["status"] == "failed"
    assert rows["broken.dcm"]["error_code"]
    assert rows["slice"]["status"] == "rejected"
    assert rows["slice"]["error_code"] == "WRONG_MODALITY"
    assert rows["slice"]["score"] == ""
    assert rows["good.dcm"]["status"] == "ok"
    assert 0 <= float(rows["good.dcm"]["score"]) <= 1


def test_pictures_agree_with_the_table(done):
    _, output = done
    for row, stem in zip([r for r in table(output) if r["status"] == "ok"], ["good", "good-2"], strict=True):
        mask = cv2.imread(str(output / f"{stem}_mask.png"), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (1955, 1841)
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 255}
        assert (mask > 0).mean() == pytest.approx(float(row["area_share"]), abs=1e-5)
        assert bool(row["side"]) == (mask.any() and row["flagged"] == "1")
        height, width, _ = cv2.imread(str(output / f"{stem}_overlay.png")).shape
        assert (width, height > 1955) == (1841, True), "the film at its own size, and a caption below it"
        probability = np.load(output / f"{stem}_probability.npy")
        assert probability.dtype == np.float16
        side = load_manifest().entry().input.side
        assert all(side <= size < 1.5 * side for size in probability.shape)  # the network is shown the lungs alone


def test_the_result_as_json_agrees_with_the_table(done):
    _, output = done
    for row in (row for row in table(output) if row["status"] == "ok"):
        record = json.loads((output / row["mask"].replace("_mask.png", "_result.json")).read_bytes())
        assert (record["score"], record["flagged"]) == (float(row["score"]), row["flagged"] == "1")
        assert (record["side"], record["operating_point"]) == (row["side"], row["operating_point"])
        assert (record["film"]["width"], record["film"]["height"]) == (1841, 1955)
        assert record["film"]["file"] == row["file"]
        for side in ("right", "left"):
            shares = [each["hemithorax_share"] for each in record["sizes"] if each["side"] == f"patient-{side}"] or [0]
            written = row[f"{side}_hemithorax_share"]
            assert (float(written) if written else None) == pytest.approx(shares[0], abs=1e-4)


def test_every_row_says_with_what_it_was_made(done):
    _, output = done
    weights = load_manifest().entry()
    point = weights.operating_point("specific")
    for row in table(output):
        assert row["operating_point"] == "specific"
        assert (row["weights"], row["weights_sha256"]) == (weights.name, weights.sha256)
        thresholds = [float(row[name]) for name in ("score_threshold", "mask_threshold", "smallest_region")]
        assert thresholds == [point.score, point.mask_threshold, point.smallest_region]
        assert bool(row["mask"]) == (row["status"] == "ok")
        assert not row["mask"] or (output / row["mask"]).exists()


def test_dicom_objects_are_those_of_the_mask(tmp_path):
    (tmp_path / "film.dcm").write_bytes(dicom_of(EXAMPLES[0].load(read_film).pixels))
    words = ["--dicom", "--operating-point", "sensitive"]
    assert main(["predict", str(tmp_path / "film.dcm"), "--output", str(tmp_path), *words]) == 0
    mask = cv2.imread(str(tmp_path / "film_mask.png"), cv2.IMREAD_UNCHANGED) > 0
    made = {kind: pydicom.dcmread(tmp_path / f"film_{kind}.dcm") for kind in ("seg", "sc", "sr", "gsps", "film")}
    assert mask.any()
    assert np.array_equal(made["seg"].pixel_array.reshape(-1, *mask.shape).any(axis=0), mask)
    assert len({dataset.StudyInstanceUID for dataset in made.values()}) == 1
    assert "operating_point=sensitive" in made["sr"].ContributingEquipmentSequence[0].ContributionDescription


def test_a_film_without_a_mask_gets_all_dicom_objects_and_an_empty_segment(done):
    _, output = done
    for stem in ("good", "good-2"):
        assert not cv2.imread(str(output / f"{stem}_mask.png"), cv2.IMREAD_UNCHANGED).any()
        kinds = {path.name.removeprefix(f"{stem}_").removesuffix(".dcm") for path in output.glob(f"{stem}_*.dcm")}
        assert kinds == {"seg", "sc", "sr", "gsps", "film"}
        assert not pydicom.dcmread(output / f"{stem}_seg.dcm").pixel_array.any()


def test_rejected_and_failed_files_leave_no_picture(done):
    _, output = done
    assert not list(output.glob("slice*"))
    assert not list(output.glob("broken*"))


@pytest.mark.skipif(sys.platform != "linux", reason="needs names of any bytes, sparse files and /dev/zero")
def test_strange_files_are_rows_like_any_other(tmp_path, monkeypatch, caplog):
    def read(reader, data):
        if data == b"stumble":
            raise ValueError("Doe^Jane is no number")
        return genuine(reader, data)

    genuine = SandboxedReader.read
    monkeypatch.setattr(SandboxedReader, "read", read)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "films").mkdir()
    Path(os.fsdecode(b"films/caf\xe9")).write_bytes(real_dicom())
    Path("films", "é" * 127).write_bytes(real_dicom())
    Path("films/stumble").write_bytes(b"stumble")
    Path("=HYPERLINK(1)").write_bytes(b"")
    with Path("films/sparse").open("wb") as sparse:
        sparse.truncate(40 << 30)
    words = ["predict", "films", "/dev/zero", "=HYPERLINK(1)", "--output", "out", "--probability"]
    assert main(words) == 1
    rows = {row["file"]: (row["status"], row["error_code"]) for row in table(tmp_path / "out")}
    assert rows == {
        "films/caf\\udce9": ("ok", ""),
        f"films/{'é' * 127}": ("ok", ""),
        "films/stumble": ("failed", "UNEXPECTED"),
        "films/sparse": ("failed", "TOO_LARGE"),
        "/dev/zero": ("failed", "TOO_LARGE"),
        "./=HYPERLINK(1)": ("failed", "EMPTY_FILE"),
    }
    assert Path("out", f"{'é' * 100}_probability.npy").exists()
    assert Path(os.fsdecode(b"out/caf\xe9_mask.png")).exists()
    assert "ValueError at" in caplog.text
    assert "Doe" not in caplog.text


def test_rejected_files_have_not_failed_unless_strict(tmp_path, capsys):
    (tmp_path / "slice").write_bytes(ct_slice())
    (tmp_path / "notes.txt").write_text("No film.")
    words = ["predict", str(tmp_path / "slice"), str(tmp_path / "notes.txt"), "--output", str(tmp_path / "out")]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert said == f"2 files: 0 analysed (0 flagged), 2 rejected, 0 failed. Table: {tmp_path / 'out' / 'results.csv'}\n"
    assert main([*words, "--overwrite", "--strict"]) == 1
    assert main([*words, "--resume"]) == 0
    assert main([*words, "--resume", "--strict"]) == 1


@cache
def detector() -> Detector:
    """Loaded once, as many short runs are made."""
    return Detector.load()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Analyses three films of the folder "films" into "out", and lists the films that ran through the network."""
    examined: list[str] = []
    genuine = Detector.examine

    def examine(detector, radiograph, **more):
        examined.append(radiograph.shape)
        return genuine(detector, radiograph, **more)

    monkeypatch.setattr(Detector, "examine", examine)
    loaded = detector()
    monkeypatch.setattr(Detector, "load", lambda *_, **__: loaded)
    monkeypatch.chdir(tmp_path)
    Path("films").mkdir()
    film = cv2.resize(simulated_film(), (300, 320), interpolation=cv2.INTER_AREA)
    for name in ("=a.png", "b.png", "c.png"):
        Path("films", name).write_bytes(encoded((film * 255).astype(np.uint8)))

    def run(*words: str) -> tuple[int, int]:
        examined.clear()
        return main(["predict", "films", "--output", "out", *words]), len(examined)

    return run


def test_an_earlier_run_is_not_touched_unless_told(run, tmp_path, capsys):
    assert run() == (0, 3)
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert run() == (1, 0)
    assert "OUTPUT_IN_USE: " in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_overwriting_leaves_nothing_of_the_earlier_run(run, tmp_path):
    run("--probability", "--dicom")
    (tmp_path / "out" / "my notes").touch()
    (tmp_path / "films" / "b.png").unlink()
    assert run("--overwrite") == (0, 2)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {
        "results.csv",
        "my notes",
        *(f"{stem}_{what}.png" for stem in ("=a", "c") for what in ("mask", "overlay")),
    }


def _comparable(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(({**row, "seconds": ""} for row in rows), key=lambda row: row["file"])


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(0, id="between rows", marks=pytest.mark.thorough),
        pytest.param(2, id="in a line end", marks=pytest.mark.thorough),
        pytest.param(40, id="in a row"),
    ],
)
def test_an_interrupted_run_is_finished_without_losing_or_doubling_a_row(run, tmp_path, cut, capsys):
    run()
    csv_file, whole = tmp_path / "out" / "results.csv", table(tmp_path / "out")
    lines = csv_file.read_bytes().splitlines(keepends=True)
    csv_file.write_bytes(b"".join(lines[:3])[: -cut or None])
    capsys.readouterr()
    assert run("--resume") == (0, 1 if cut == 0 else 2)
    assert _comparable(table(tmp_path / "out")) == _comparable(whole)
    assert f"3 files, {2 if cut == 0 else 1} of them in the earlier run: 3 analysed" in capsys.readouterr().out
    assert run("--resume") == (0, 0)
    assert _comparable(table(tmp_path / "out")) == _comparable(whole)
    assert not (tmp_path / "out" / "results.csv.new").exists()


@pytest.mark.thorough
def test_resuming_makes_again_what_was_made_otherwise(run, tmp_path):
    run()
    assert run("--resume", "--operating-point", "specific") == (0, 3)
    assert {row["operating_point"] for row in table(tmp_path / "out")} == {"specific"}
    assert run("--resume", "--operating-point", "specific") == (0, 0)
    (tmp_path / "out" / "b_overlay.png").unlink()
    assert run("--resume", "--operating-point", "specific") == (0, 1)
    assert run("--resume", "--operating-point", "specific", "--dicom") == (0, 3)
    assert run("--resume", "--operating-point", "specific", "--dicom") == (0, 0)
    assert len(table(tmp_path / "out")) == 3


def test_resuming_keeps_the_rows_of_other_films_and_never_writes_over_their_results(run, tmp_path):
    run()
    before = (tmp_path / "out" / "b_mask.png").read_bytes()
    (tmp_path / "films" / "b.png").rename(tmp_path / "films" / "b.jpg")
    assert run("--resume") == (0, 1)
    rows = {row["file"]: row["mask"] for row in table(tmp_path / "out")}
    assert rows == {
        "films/=a.png": "./=a_mask.png",
        "films/b.png": "b_mask.png",
        "films/b.jpg": "b-2_mask.png",
        "films/c.png": "c_mask.png",
    }
    assert (tmp_path / "out" / "b_mask.png").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"file,status\r\na.png,ok\r\n", b"\0\r\n", b"\xff\xfe"])
def test_a_table_of_another_version_is_not_added_to(run, tmp_path, content, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.csv").write_bytes(content)
    assert run("--resume") == (1, 0)
    assert "TABLE_FOREIGN: " in capsys.readouterr().err
    assert (tmp_path / "out" / "results.csv").read_bytes() == content
    assert run("--overwrite") == (0, 3)


def test_an_edited_table_cannot_delete_other_files(run, tmp_path):
    run()
    (tmp_path / "mine_mask.png").write_bytes(b"mine")
    csv_file = tmp_path / "out" / "results.csv"
    csv_file.write_bytes(csv_file.read_bytes().replace(b"b_mask.png", b"../mine_mask.png"))
    assert run("--overwrite") == (0, 3)
    assert (tmp_path / "mine_mask.png").read_bytes() == b"mine"


def test_identified_objects_only_where_asked_and_only_of_dicom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pixels = cv2.resize(simulated_film(), (300, 320), interpolation=cv2.INTER_AREA)
    header = {"PatientName": "Doe^Jane", "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4"}
    Path("film.dcm").write_bytes(dicom_of(pixels, **header))
    Path("picture.png").write_bytes(encoded((pixels * 255).astype(np.uint8)))
    Path("lost.dcm").write_bytes(dicom_of(pixels, PatientName="Doe^Jane"))
    words = ["predict", "film.dcm", "picture.png", "lost.dcm", "--output", "out"]
    assert main([*words, "--identified"]) == 1
    assert "IDENTIFIED_ALONE: " in capsys.readouterr().err
    assert main([*words, "--dicom"]) == 0
    assert not any(b"Doe" in path.read_bytes() for path in Path("out").iterdir())
    assert main([*words, "--dicom", "--identified", "--resume"]) == 1
    rows = {row["file"]: (row["status"], row["error_code"]) for row in table(Path("out"))}
    assert rows == {"film.dcm": ("ok", ""), "picture.png": ("ok", ""), "lost.dcm": ("failed", "SOURCE_UNIDENTIFIED")}
    made = {path.name for path in Path("out").glob("*.dcm")}
    kinds = ("seg", "sc", "sr", "gsps")
    assert made == {*(f"{stem}_{kind}.dcm" for stem in ("film", "picture") for kind in kinds), "picture_film.dcm"}
    assert str(pydicom.dcmread("out/film_seg.dcm").PatientName) == "Doe^Jane"
    assert not any(b"Doe" in path.read_bytes() for path in Path("out").glob("picture*"))


@pytest.fixture
def trail(tmp_path, monkeypatch) -> Trail:
    """An audit trail as an operator sets it up."""
    key = "a key that only the operator of this test has"
    monkeypatch.setenv("PTX_AUDIT_FOLDER", str(tmp_path / "trail"))
    monkeypatch.setenv("PTX_AUDIT_KEY", key)
    return Trail(tmp_path / "trail", key)


def test_the_audit_trail_has_who_read_which_film_and_what_was_written_of_it(trail, tmp_path, monkeypatch):
    monkeypatch.setenv("LOGNAME", "somebody-else")
    study = {"StudyInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3.4.5", "PatientID": "MRN-4711"}
    films = {"Doe.dcm": dicom_of(simulated_film(), **study), "broken.dcm": broken_dicom(), "slice": ct_slice()}
    for name, data in films.items():
        (tmp_path / name).write_bytes(data)
    words = ["predict", *(str(tmp_path / name) for name in films), "--output", str(tmp_path / "out")]
    assert main([*words, "--dicom", "--identified"]) == 1  # one is broken
    assert trail.verify().faults == ()
    lines = [line.record for line in trail.lines()]
    assert {(line["by"], line["account"]) for line in lines} == {("ptx predict", pwd.getpwuid(os.getuid()).pw_name)}
    opened = {line["film"]: line["how"] for line in lines if line["event"] == "film opened"}
    assert opened == {trail.film(data): "file" for data in films.values()}
    written = {line["film"]: line for line in lines if line["event"] == "result written"}
    good, broken, no_chest = (written[trail.film(data)] for data in films.values())
    (row,) = (row for row in table(tmp_path / "out") if row["status"] == "ok")
    assert (good["result"], good["score"]) == (row["grade"], round(float(row["score"]), 4))
    assert good["identified"]
    assert {f"Doe_{file}" for file in good["files"]} == {path.name for path in (tmp_path / "out").glob("Doe_*")}
    assert (broken["result"], "score" in broken, "files" in broken) == ("not read", False, False)
    assert (no_chest["result"], no_chest["code"]) == ("not analysed", "WRONG_MODALITY")
    assert not any(each in str(lines) for each in ("Doe", "MRN-4711", "1.2.3.4", str(tmp_path), "somebody-else"))


@pytest.mark.parametrize("untold", ["film opened", "result written"])
def test_what_the_audit_trail_cannot_be_told_is_not_done(trail, untold, tmp_path, monkeypatch, capsys):
    record, made = Trail.record, []

    def full(self: Trail, event: Event, **facts: object) -> None:
        if event == untold:
            raise AuditError("AUDIT_UNWRITABLE", "Said.")
        record(self, event, **facts)

    monkeypatch.setattr(Trail, "record", full)
    monkeypatch.setattr(
        ResultMaker,
        "make",
        lambda *_, **__: made.append(1) or Result({"status": "ok", "grade": ""}, {"_mask.png": b""}),
    )
    (tmp_path / "film.dcm").write_bytes(b"film")
    assert main(["predict", str(tmp_path / "film.dcm"), "--output", str(tmp_path / "out")]) == 1
    assert "AUDIT_UNWRITABLE: Said." in capsys.readouterr().err
    assert len(made) == (untold == "result written")
    assert table(tmp_path / "out") == []
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.csv"]


def test_a_rejected_film_can_be_analysed_anyway(tmp_path):
    (tmp_path / "slice").write_bytes(ct_slice())
    assert main(["predict", str(tmp_path / "slice"), "--output", str(tmp_path / "out"), "--all"]) == 0
    assert table(tmp_path / "out")[0]["status"] == "ok"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["predict", "nowhere", "--output", "{}"], "FILES_NOT_FOUND"),
        (["predict", "{}", "--output", "{}", "--weights", "nobody"], "WEIGHTS_UNKNOWN"),
        (["predict", "{}", "--output", "{}", "--operating-point", "bold"], "OPERATING_POINT_UNKNOWN"),
        (["predict", "{}/films", "--output", "/proc/none"], "OUTPUT_UNWRITABLE"),
        (["predict", "{}/empty", "--output", "{}/out"], "NO_FILES"),
        (["predict", "{}/films", "--output", "{}/films"], "OUTPUT_IS_INPUT"),
        (["predict", "{}/films", "--output", "{}/films/new/out"], "OUTPUT_IS_INPUT"),
        (["predict", "{}/films", "--output", "{}/link/out"], "OUTPUT_IS_INPUT"),
        (["predict", "{}/films/a.png", "{}/films/a_mask.png", "--output", "{}/films"], "OUTPUT_IS_INPUT"),
    ],
)
def test_errors_are_one_sentence_with_a_code(words, code, tmp_path, capsys):
    for name in ("a.png", "a_mask.png"):
        (tmp_path / "films").mkdir(exist_ok=True)
        (tmp_path / "films" / name).write_bytes(b"the user's own")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("films")
    assert main([word.format(tmp_path) for word in words]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith(f"{code}: ")
    assert {path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == {b"the user's own"}


def test_results_may_lie_beside_the_film_they_are_of(tmp_path):
    (tmp_path / "slice.dcm").write_bytes(ct_slice())
    words = ["predict", str(tmp_path / "slice.dcm"), "--output", str(tmp_path)]
    assert [main(words), main([*words, "--overwrite"])] == [0, 0]
    assert (tmp_path / "slice.dcm").read_bytes() == ct_slice()


def test_help_and_unknown_verbs_do_not_import_torch():
    code = (
        "import sys; from ptx_app.__main__ import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip().endswith("False")
    assert "predict" in done.stdout


def run_lengths_to_mask(rows: list[str], side: int = 1024) -> np.ndarray:
    """The challenge's masks: relative run lengths down the columns, "-1" for none."""
    flat = np.zeros(side * side, bool)
    for row in rows:
        numbers = [int(word) for word in row.split()]
        position = 0
        for skip, length in zip(numbers[::2], numbers[1::2], strict=False):
            position += skip
            flat[position : position + length] = True
            position += length
    return flat.reshape(side, side).T


@pytest.mark.thorough
def test_the_validation_dicoms_score_as_the_manifest_says(data_dir, tmp_path):
    folder = data_dir / "siim-val-dicom"
    # "--all": the film check rejects one of the hundred, a lateral, and the figures are those of the model alone.
    words = ["predict", str(folder / "dicom-images"), "--output", str(tmp_path), "--probability", "--all"]
    assert main(words) == 0
    runs: dict[str, list[str]] = {}
    with (folder / "train-rle.csv").open() as file:
        for row in csv.DictReader(file):
            runs.setdefault(row["ImageId"], []).append(row["EncodedPixels"].strip())
    stated = load_manifest().entry().figures["validation_dicoms"]
    thresholds = Thresholds.of(load_manifest().entry().operating_point())  # the outline, flagged or not
    truths, scores, dices = [], [], []
    for row in table(tmp_path):
        stem = Path(row["file"]).stem
        positive = runs[stem] != ["-1"]
        truths.append(positive)
        scores.append(float(row["score"]))
        if positive:
            truth = run_lengths_to_mask(runs[stem])
            probability = np.load(tmp_path / f"{stem}_probability.npy").astype(np.float32)
            mask = decide(Prediction(1.0, probability, 0.0), (1024, 1024), thresholds).mask
            dices.append(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
    assert (len(truths), sum(truths)) == (stated.films, stated.positives)
    assert roc_auc_score(truths, scores) == pytest.approx(stated.auc, abs=0.005)
    assert np.mean(dices) == pytest.approx(stated.dice_positive, abs=0.005)


@pytest.mark.parametrize("jobs", ["1", pytest.param("3", marks=pytest.mark.thorough)])
def test_rows_are_in_order_and_the_same_however_many_files_are_worked_on_at_once(run, tmp_path, jobs):
    for number in range(4):
        shutil.copy(Path("films", "b.png"), Path("films", f"d{number}.png"))
    Path("films", "c2.png").write_bytes(b"\x89PNG broken")
    assert run("--jobs", jobs)[0] == 1
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert [Path(row["file"]).name for row in rows] == sorted(path.name for path in Path("films").iterdir())
    assert [row["status"] for row in rows].count("failed") == 1
    scores = {row["score"] for row in rows if row["status"] == "ok"}
    assert len(scores) == 1


@pytest.mark.parametrize("jobs", ["0", "65", "many"])
def test_number_of_jobs_is_checked(jobs, capsys):
    with pytest.raises(SystemExit):
        main(["predict", "films", "--output", "out", "--jobs", jobs])
    assert "--jobs" in capsys.readouterr().err
