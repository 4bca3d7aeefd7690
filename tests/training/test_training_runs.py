"""A run of a small network on synthetic films: it learns, survives a kill, and becomes a manifest entry."""

import csv
import os
import shutil
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ptx_app.__main__ import main
from ptx_app.data.index import read_index
from ptx_app.data.split import validation_films
from ptx_app.errors import SettingsError, WeightsError
from ptx_app.evaluation.known_films import prepared_films
from ptx_app.inference.predict import predict
from ptx_app.inference.prepare import NetworkInput, prepare
from ptx_app.model.manifest import MANIFEST_PATH, load_manifest
from ptx_app.model.torch_network import build_module
from ptx_app.training.configuration import NetworkSection, read_configuration, write_configuration
from ptx_app.training.dataset import training_films
from ptx_app.training.gathering import gather_films
from ptx_app.training.loop import TrainingRun
from ptx_app.training.run_folder import RunFolder
from ptx_app.training.starting_weights import build_network, half_precision, load_exactly
from ptx_app.training.validation import Validation
from ptx_app.weights.load import load_network
from tests.support.films import dicom_of
from tests.support.made_folder import configuration, film_and_mask, prepared_folder

pytestmark = pytest.mark.filterwarnings("ignore")

# Everything that affects a run: dropout, moving average, changing sides, a frozen encoder at the start.
INTRICATE = {
    "schedule": {"films": 64, "sides": [[0.0, 32], [0.5, 64]], "frozen_encoder": 0.3},
    "training": {"precision": "fp32", "validate_every": 40, "ema": 0.9, "checkpoint_minutes": 1e-6},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return prepared_folder(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def done(data, runs) -> RunFolder:
    """A finished run, by the command line."""
    write_configuration(configuration(), runs / "tiny.toml")
    assert main(["train", str(runs / "tiny.toml"), "--data", str(data), "--runs", str(runs)]) == 0
    return RunFolder(runs / "tiny")


def prepared_run(data: Path, folder: Path, **sections: object) -> TrainingRun:
    wanted = configuration(**sections)
    gathered = gather_films(wanted, data, folder.parent)
    return TrainingRun(wanted, RunFolder(folder), gathered, torch.device("cpu"))


def test_a_run_learns(done):
    log = done.read_log()
    assert float(log[-1]["loss"]) < 0.8 * float(log[0]["loss"])
    assert [int(row["films"]) for row in log] == list(range(16, 161, 16))
    assert [bool(row["held_out_dice"]) for row in log] == [number % 5 == 4 for number in range(10)]
    assert float(log[-1]["learning_rate"]) < 1e-4 < float(log[1]["learning_rate"])


def test_a_run_keeps_its_provenance(done):
    names = {path.name for path in done.path.iterdir()}
    assert names == {
        "config.toml",
        "provenance.json",
        "held_out.json",
        "log.csv",
        "checkpoint.pt",
        "best.safetensors",
        "last.safetensors",
        "curves.png",
    }
    assert done.configuration() == configuration()
    assert {tensor.dtype for tensor in load_file(done.path / "last.safetensors").values()} == {
        torch.float16,
        torch.int64,
    }
    assert cv2.imread(str(done.path / "curves.png")) is not None


def test_a_finished_run_stays_as_it_is(done, data, runs):
    before = (done.path / "last.safetensors").read_bytes(), done.read_log()
    assert main(["train", str(runs / "tiny.toml"), "--data", str(data), "--runs", str(runs)]) == 0
    assert ((done.path / "last.safetensors").read_bytes(), done.read_log()) == before


def test_another_configuration_cannot_resume_it(done, data):
    with pytest.raises(SettingsError) as error:
        prepared_run(data, done.path, seed=2)
    assert error.value.code == "RUN_EXISTS"


def test_the_held_out_films_are_recorded_and_stay_the_same(done, data, tmp_path):
    films = read_index(data)
    _, held_out = training_films(configuration(), data)
    assert done.held_out(films) == held_out
    with pytest.raises(SettingsError) as error:
        done.held_out(film for film in films if film != held_out[0])
    assert error.value.code == "HELD_OUT_CHANGED"
    shutil.copytree(done.path, tmp_path / "run")
    with pytest.raises(SettingsError) as error:
        RunFolder(tmp_path / "run").begin(configuration(), held_out[1:])
    assert error.value.code == "HELD_OUT_CHANGED"


def test_the_provenance_of_a_run_is_that_of_its_start(done, data, monkeypatch):
    before = (done.path / "provenance.json").read_text()
    monkeypatch.setattr("ptx_app.training.run_folder._git_commit", lambda: "another")
    prepared_run(data, done.path)
    assert (done.path / "provenance.json").read_text() == before


def test_the_best_weights_have_seen_the_films_up_to_their_validation(tmp_path):
    run = RunFolder(tmp_path)
    assert run.films_seen("last") == run.films_seen("best") == 0
    for films, dice in ((8, ""), (16, 0.3), (24, 0.5), (32, ""), (40, 0.4)):
        run.append_log({"films": films, "held_out_dice": dice})
    assert (run.films_seen("best"), run.films_seen("last")) == (24, 40)


def test_a_damaged_checkpoint_is_reported(data, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(SettingsError) as error:
        prepared_run(data, folder)
    assert error.value.code == "CHECKPOINT_DAMAGED"


@pytest.fixture(scope="module")
def uninterrupted(data, runs) -> RunFolder:
    run = prepared_run(data, runs / "whole", **INTRICATE)
    assert run.train()
    return RunFolder(runs / "whole")


def told(folder: RunFolder) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "minutes"} for row in folder.read_log()]


@pytest.mark.parametrize("how", [pytest.param("signal", marks=pytest.mark.thorough), "crash"])
def test_a_run_resumes_as_if_it_had_not_been_stopped(how, uninterrupted, data, tmp_path, monkeypatch):
    run = prepared_run(data, tmp_path / "run", **INTRICATE)
    step, steps = run._step, []

    def interrupted(batch):
        steps.append(0)
        if len(steps) == 4:
            if how == "crash":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGTERM)
        return step(batch)

    monkeypatch.setattr(run, "_step", interrupted)
    if how == "crash":
        with pytest.raises(KeyboardInterrupt):
            run.train()
    else:
        assert run.train() is False
    again = prepared_run(data, tmp_path / "run", **INTRICATE)
    assert 0 < again.films_seen < 64
    assert again.train()
    assert told(RunFolder(tmp_path / "run")) == told(uninterrupted)
    ends = [load_file(folder / "last.safetensors") for folder in (uninterrupted.path, tmp_path / "run")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_resumed_run_goes_on_with_the_plateaus_learning_rates(data, tmp_path, monkeypatch):
    monkeypatch.setattr("ptx_app.training.loop.validate", lambda *_: Validation(0.5, 0.4, 0.5, 0.8))
    sections = {
        "input": {"side": 32},
        "schedule": {"films": 20, "name": "plateau", "warm_up": 0.2},
        "training": {"precision": "fp32", "batch": 4, "validate_every": 4},
    }
    assert prepared_run(data, tmp_path / "whole", **sections).train()
    run = prepared_run(data, tmp_path / "run", **sections)
    step, steps = run._step, []

    def interrupted(batch):
        steps.append(0)
        if len(steps) == 2:  # one validation without a better Dice is behind it, and no step of the plateau yet
            os.kill(os.getpid(), signal.SIGTERM)
        return step(batch)

    monkeypatch.setattr(run, "_step", interrupted)
    assert run.train() is False
    assert prepared_run(data, tmp_path / "run", **sections).train()
    assert told(RunFolder(tmp_path / "run")) == told(RunFolder(tmp_path / "whole"))
    rates = [float(row["learning_rate"]) for row in RunFolder(tmp_path / "whole").read_log()]
    assert rates[-1] == pytest.approx(0.3**2 * max(rates)), "two steps of the plateau's"


@pytest.mark.parametrize("network", [{"start": "runs/none/last.safetensors"}, {"encoder_weights": "weights/none"}])
def test_missing_starting_weights_are_named_before_any_film_is_read(network, tmp_path):
    with pytest.raises(WeightsError, match=next(iter(network.values()))) as raised:
        TrainingRun.of(configuration(network=network), tmp_path / "no films", tmp_path)
    assert raised.value.code == "WEIGHTS_MISSING"


def test_a_time_limit_ends_the_schedule_too(data, tmp_path):
    run = prepared_run(data, tmp_path / "run", schedule={"films": 10**6})
    assert run.train(minutes=0.01)
    assert run.progress == 1
    assert RunFolder(tmp_path / "run").read_log()[-1]["held_out_dice"]


def test_patience_ends_a_run_and_it_stays_ended(data, tmp_path):
    impatient = {
        "optimizer": {"learning_rate": 1e-12},
        "schedule": {"films": 10**4},
        "training": {"precision": "fp32", "validate_every": 8, "patience": 1, "ema": 0.999},
    }
    run = prepared_run(data, tmp_path / "run", **impatient)
    assert run.train()
    assert run.films_seen < 500
    again = prepared_run(data, tmp_path / "run", **impatient)
    assert again.train()
    assert again.films_seen == run.films_seen


@pytest.mark.skipif(torch.cuda.is_available(), reason="fp16 trains here")
def test_fp16_is_refused_where_it_cannot_train(data, tmp_path):
    with pytest.raises(SettingsError) as error:
        prepared_run(data, tmp_path / "run", training={"precision": "fp16"})
    assert error.value.code == "PRECISION_IMPOSSIBLE"


def dicom_folder(folder: Path, films: int) -> Path:
    """Films in the challenge's own layout, the second of each pair negative."""
    with (folder / "train-rle.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ImageId", " EncodedPixels"])
        for number in range(films):
            film, mask = film_and_mask(number, number % 2 == 0)
            edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.T.ravel() // 255, [0]]).astype(int)))
            runs = " ".join(map(str, np.diff(np.concatenate([[0], edges])))) or "-1"
            (folder / f"1.2.{number}.dcm").write_bytes(dicom_of(film / np.float32(255)))
            writer.writerow([f"1.2.{number}", runs])
    return folder


@pytest.fixture(scope="module")
def published(done, data, tmp_path_factory) -> Path:
    draft = tmp_path_factory.mktemp("draft")
    dicoms = dicom_folder(tmp_path_factory.mktemp("dicoms"), 8)
    words = ["--data", str(data), "--dicoms", str(dicoms), "--draft", str(draft), "--default", "--flip-averaging"]
    assert main(["publish", str(done.path), *words]) == 0
    return draft


def test_publishing_writes_a_valid_entry_beside_the_others(published, done):
    before, manifest = load_manifest(), load_manifest(published / MANIFEST_PATH.name)
    weights = manifest.entry()
    assert weights.name == manifest.default == "tiny"
    assert [entry for entry in manifest.weights if entry.name != "tiny"] == list(before.weights)
    assert load_manifest() == before
    assert weights.flip_averaging
    assert weights.network == done.configuration().network.spec()
    assert [point.name for point in weights.operating_points] == ["sensitive", "balanced", "specific"]
    assert all("SIIM-ACR validation films; thresholds chosen on" in p.measured_on for p in weights.operating_points)
    assert weights.figures["validation_films"].films == 8
    assert weights.figures["validation_dicoms"].positives == 4
    assert "160 films" in weights.provenance


def test_the_app_reproduces_the_figures_of_the_entry(published, data):
    weights = load_manifest(published / MANIFEST_PATH.name).entry()
    network = load_network(weights, published / "tiny.safetensors")
    films = list(prepared_films(validation_films(read_index(data))))
    scores = np.asarray(
        [predict(network, NetworkInput(prepare(film.pixels, weights.input)), weights).score for film in films]
    )
    positive = np.asarray([film.positive for film in films])
    for point in weights.operating_points:
        assert (scores[positive] >= point.score).mean() == pytest.approx(point.sensitivity, abs=1e-4)
        assert (scores[~positive] < point.score).mean() == pytest.approx(point.specificity, abs=1e-4)


def test_a_run_without_weights_is_reported(done, data, tmp_path, capsys):
    shutil.copy(done.path / "config.toml", tmp_path)
    assert main(["publish", str(tmp_path), "--data", str(data), "--draft", str(tmp_path / "draft")]) == 1
    assert capsys.readouterr().err.startswith("RUN_UNFINISHED: ")


def test_films_to_measure_on_need_both_labels(data):
    films = read_index(data)
    assert {film.split for film in validation_films(films)} == {"val"}
    for left in ([], [film for film in films if film.positive], [film for film in films if film.split == "train"]):
        with pytest.raises(SettingsError) as error:
            validation_films(left)
        assert error.value.code == "TOO_FEW_FILMS"


def test_a_run_without_time_is_refused(runs, data, capsys):
    with pytest.raises(SystemExit):
        main(["train", str(runs / "tiny.toml"), "--data", str(data), "--runs", str(runs), "--minutes", "0"])
    assert "time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("name = ", "CONFIGURATION_UNREADABLE"),
        ('name = "a"\ntitle = "b"\nprovenance = "c"\n[schedule]\nfilms = -1', "CONFIGURATION_INVALID"),
        ('name = "a"\ntitle = "b"\nprovenance = "c"\n[schedule]\nfilms = 1\nsize = 2', "CONFIGURATION_INVALID"),
    ],
)
def test_a_wrong_configuration_is_reported(text, code, tmp_path):
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(SettingsError) as error:
        read_configuration(tmp_path / "wrong.toml")
    assert error.value.code == code


def test_the_projects_own_configurations_are_valid():
    for path in (MANIFEST_PATH.parent / "configs").glob("*.toml"):
        assert read_configuration(path).name


def test_an_encoder_may_lack_unused_weights(tmp_path):
    module = build_module(NetworkSection(encoder="efficientnet-b0").spec()).get_submodule("encoder")
    state = {
        name: tensor for name, tensor in module.state_dict().items() if not name.startswith(("_conv_head", "_bn1"))
    }
    load_exactly(module, state)
    del state["_conv_stem.weight"]
    with pytest.raises(WeightsError) as error:
        load_exactly(module, state)
    assert error.value.code == "WEIGHTS_MISFIT"


@pytest.mark.parametrize("encoder", ["efficientnet-b3", "resnet50", "xception"])
def test_the_encoders_are_complete_and_compute_features(encoder, data_dir):
    file = data_dir.parent / "weights" / f"{encoder}-encoder.safetensors"
    if not file.exists():
        pytest.skip(f"{file.name} is missing")
    module = build_network(NetworkSection(encoder=encoder, encoder_weights=str(file))).eval()
    with torch.inference_mode():
        deepest = module.get_submodule("encoder")(torch.rand(2, 3, 64, 64))[-1]
    assert torch.isfinite(deepest).all()
    assert deepest.std() > 0


def test_weights_beyond_the_range_of_fp16_stay_as_they_are():
    state = {"large": torch.tensor([1.0, 7e4]), "small": torch.tensor([1.0, 6e4]), "count": torch.tensor(7)}
    kept = half_precision(state)
    assert {name: tensor.dtype for name, tensor in kept.items()} == {
        "large": torch.float32,
        "small": torch.float16,
        "count": torch.int64,
    }
    assert torch.equal(kept["large"], state["large"])
