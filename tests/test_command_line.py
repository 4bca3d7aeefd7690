"""ptx predict, and that its results on DICOM films are the figures measured in training."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ptx_app.__main__ import main
from ptx_app.commands.film_files import stems, walk
from ptx_app.commands.results_table import RESULT_COLUMNS
from ptx_app.errors import SettingsError
from ptx_app.film.examples import example_bytes
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.model.manifest import ROOT, load_manifest
from tests.support.films import broken_dicom, ct_slice


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[int, Path]:
    films, output = tmp_path_factory.mktemp("films"), tmp_path_factory.mktemp("output")
    (films / "deep" / "er").mkdir(parents=True)
    (films / "good.dcm").write_bytes(example_bytes())
    (films / "deep" / "er" / "good.dcm").write_bytes(example_bytes())
    (films / "broken.dcm").write_bytes(broken_dicom())
    (films / "slice").write_bytes(ct_slice())
    (films / ".hidden").write_bytes(b"not a film")
    status = main(["predict", str(films), "--output", str(output), "--probability", "--operating-point", "sensitive"])
    return status, output


def test_every_file_is_a_row_and_the_exit_status_reports_a_failure(done):
    status, output = done
    rows = {Path(row["file"]).name: row for row in table(output)}
    assert status == 1
    assert tuple(table(output)[0]) == RESULT_COLUMNS
    assert len(table(output)) == 4
    assert rows["broken.dcm"]["status"] == "failed"
    assert rows["broken.dcm"]["error_code"]
    assert rows["slice"]["status"] == "refused"
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
        assert cv2.imread(str(output / f"{stem}_overlay.png")).shape == (1955, 1841, 3)
        probability = np.load(output / f"{stem}_probability.npy")
        assert probability.dtype == np.float16
        assert probability.shape == (load_manifest().entry().input.side,) * 2


def test_refused_and_failed_files_leave_no_picture(done):
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
    Path(os.fsdecode(b"films/caf\xe9")).write_bytes(example_bytes())
    Path("films", "é" * 127).write_bytes(example_bytes())
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


def test_refused_files_have_not_failed(tmp_path):
    (tmp_path / "slice").write_bytes(ct_slice())
    assert main(["predict", str(tmp_path / "slice"), "--output", str(tmp_path / "out")]) == 0


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


def test_walk_goes_in_order_and_says_what_is_missing(tmp_path):
    for name in ("b", "a", "c/d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in walk([tmp_path])] == ["a", "b", "d"]
    with pytest.raises(SettingsError):
        list(walk([tmp_path / "missing"]))


def test_stems_are_unique():
    files = [Path(name) for name in ("x/a.dcm", "y/a.png", "a", "1.2.840.5", "a-2.jpg")]
    named = stems(files)
    assert len(set(named)) == len(named)
    assert named[0] == "a"
    assert named[3] == "1.2.840.5"


@given(st.lists(st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1), max_size=8))
def test_long_stems_are_cut_between_characters_and_are_unique(names):
    named = stems([Path("x", name * 80) for name in names if name not in (".", "..")])
    assert len(set(named)) == len(named)
    assert all(len(os.fsencode(name)) <= 204 and name.encode() for name in named)


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
    truths, scores, dices = [], [], []
    for row in table(tmp_path):
        stem = Path(row["file"]).stem
        positive = runs[stem] != ["-1"]
        truths.append(positive)
        scores.append(float(row["score"]))
        if positive:
            truth = run_lengths_to_mask(runs[stem])
            probability = np.load(tmp_path / f"{stem}_probability.npy").astype(np.float32)
            mask = cv2.resize(probability, (1024, 1024)) >= stated.mask_threshold
            dices.append(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
    assert (len(truths), sum(truths)) == (stated.films, stated.positives)
    assert roc_auc_score(truths, scores) == pytest.approx(stated.auc, abs=0.005)
    assert np.mean(dices) == pytest.approx(stated.dice_positive, abs=0.005)
