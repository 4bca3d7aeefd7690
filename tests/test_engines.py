"""Every engine gives torch's results, and the app needs no torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ptx_app import checked_export
from ptx_app.checked_export import require_agreement
from ptx_app.errors import SettingsError, WeightsError
from ptx_app.film import read_film
from ptx_app.film.examples import EXAMPLES
from ptx_app.inference.prepare import NetworkInput, prepare
from ptx_app.model import engine as engines
from ptx_app.model.engine import Engine, choose_engine
from ptx_app.model.export import export_onnx
from ptx_app.model.manifest import ROOT, NetworkSpec, OnnxFile, Weights, load_manifest
from ptx_app.model.network import NetworkOutput
from ptx_app.model.torch_network import TorchNetwork, build_module
from ptx_app.pipeline import Detector
from ptx_app.weights.fetch import cached_path, locate
from ptx_app.weights.load import load_network, network_of_onnx
from ptx_app.weights.verify import digest

EXACT = (Engine.OPENVINO, Engine.ONNX_RUNTIME)


@pytest.fixture(scope="module")
def films() -> list[np.ndarray]:
    spec = load_manifest().entry().input
    return [prepare(example.load(read_film).pixels, spec) for example in EXAMPLES]


@pytest.fixture(scope="module")
def expected(films: list[np.ndarray]) -> list[NetworkOutput]:
    entry = load_manifest().entry()
    network = TorchNetwork(entry, locate(entry), torch.device("cpu"))
    return [network(film[np.newaxis]) for film in films]


def small_weights(folder: Path) -> tuple[Weights, Path]:
    """An entry without an ONNX file, and its file: a small network with random weights in fp16."""
    torch.manual_seed(1)
    entry = load_manifest().entry()
    spec = NetworkSpec(architecture="Unet", encoder="mobilenet_v2", decoder_channels=(16, 16, 8, 8, 8))
    file = folder / "small.safetensors"
    state = build_module(spec).state_dict()
    save_file({name: value.half() if value.is_floating_point() else value for name, value in state.items()}, file)
    inputs = entry.input.model_copy(update={"side": 64})
    changes = {"name": "small", "network": spec, "input": inputs, "onnx": None, "sources": ()}
    return entry.model_copy(update=changes | {"bytes": file.stat().st_size, "sha256": digest(file)}), file


@pytest.mark.parametrize("engine", EXACT)
def test_activation_is_exact_for_pooled_means_and_the_same_in_each_engine(engine, tmp_path) -> None:
    entry, file = small_weights(tmp_path)
    entry = entry.model_copy(update={"network": entry.network.model_copy(update={"head_pooling": "avg"})})
    network = TorchNetwork(entry, file, torch.device("cpu"))
    film = np.random.default_rng(3).standard_normal((1, 3, 64, 64), np.float32)
    output = network(film)
    bias = float(network.module.classification_head[3].bias.detach())
    assert output.activation.shape == (1, 2, 2)
    assert output.activation.mean() + bias == pytest.approx(float(output.score_logits[0]), abs=1e-4)
    target = tmp_path / "small.onnx"
    export_onnx(entry, file, target)
    onnx = OnnxFile(name="small.onnx", bytes=target.stat().st_size, sha256=digest(target), sources=())
    found = network_of_onnx(onnx, target, engine)(film)
    np.testing.assert_allclose(found.activation, output.activation, atol=1e-3)


@pytest.mark.parametrize("engine", EXACT)
def test_bundled_onnx_file_gives_torchs_results_in_fp32(engine, films, expected) -> None:
    onnx = load_manifest().entry().onnx
    assert onnx is not None
    network = network_of_onnx(onnx.model_copy(update={"decoder_ranges": {}}), locate(onnx), engine)
    for film, truth in zip(films, expected, strict=True):
        found = network(film[np.newaxis])
        np.testing.assert_allclose(found.score_logits, truth.score_logits, atol=1e-3)
        np.testing.assert_allclose(found.mask_logits, truth.mask_logits, atol=0.02)


def test_decoder_in_8_bits_leaves_scores_alone_and_moves_contours_little(films, expected) -> None:
    onnx = load_manifest().entry().onnx
    assert onnx is not None
    assert onnx.decoder_ranges
    network = network_of_onnx(onnx, locate(onnx), Engine.OPENVINO)
    rounded = [network(film[np.newaxis]) for film in films]
    for found, truth in zip(rounded, expected, strict=True):
        np.testing.assert_allclose(found.score_logits, truth.score_logits, atol=1e-3)
    first, second = rounded[0].mask_logits[0] >= 0, expected[0].mask_logits[0] >= 0
    assert second.sum() > 500
    assert 2 * (first & second).sum() / (first.sum() + second.sum()) > 0.96
    assert (rounded[0].mask_logits != expected[0].mask_logits).any()  # it did run in 8 bits


def test_films_of_a_batch_are_run_one_by_one(films) -> None:
    entry = load_manifest().entry()
    network = load_network(entry, engine=Engine.OPENVINO)
    together = network(np.stack(films))
    for place, film in enumerate(films):
        alone = network(film[np.newaxis])
        np.testing.assert_array_equal(together.mask_logits[place], alone.mask_logits[0])
        np.testing.assert_array_equal(together.score_logits[place], alone.score_logits[0])


@pytest.mark.thorough
def test_weights_without_an_onnx_file_get_one_once_from_a_child_process(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PTX_CACHE", str(tmp_path / "cache"))
    weights, file = small_weights(tmp_path)
    film = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    truth = TorchNetwork(weights, file, torch.device("cpu"))(film)
    for engine in EXACT:
        found = load_network(weights, file, engine=engine)(film)
        np.testing.assert_allclose(found.mask_logits, truth.mask_logits, atol=1e-3)
        np.testing.assert_allclose(found.score_logits, truth.score_logits, atol=1e-3)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [cached_path(weights).with_suffix(".onnx").name]
    made = cached_path(weights).with_suffix(".onnx").stat().st_mtime_ns
    load_network(weights, file)
    assert cached_path(weights).with_suffix(".onnx").stat().st_mtime_ns == made


def test_onnx_file_that_differs_from_torch_is_not_kept(tmp_path, monkeypatch) -> None:
    weights, file = small_weights(tmp_path)

    class Other:
        engine = "other"

        def __call__(self, batch):
            return NetworkOutput(np.full((1, 64, 64), -1, np.float32), np.ones(1, np.float32))

    monkeypatch.setattr(checked_export, "network_of_onnx", lambda *_: Other())
    with pytest.raises(WeightsError) as caught:
        checked_export.export_checked(weights, file, tmp_path / "small.onnx")
    assert caught.value.code == "EXPORT_DIFFERS"
    assert [path.name for path in tmp_path.glob("*.onnx")] == []


class Constant:
    """A network with the same output for every film: a square of a given size, and a logit."""

    engine = "constant"

    def __init__(self, side: int, logit: float) -> None:
        self.mask = np.full((1, 400, 400), -9, np.float32)
        self.mask[:, :side, :side] = 9
        self.logit = logit

    def __call__(self, batch):
        return NetworkOutput(self.mask, np.asarray([self.logit], np.float32))


@pytest.mark.parametrize(
    ("side", "logit", "agrees"),
    [
        (400, 0.0, True),
        (400, 0.0078, True),  # 0.00195 of the score
        (400, 0.0082, False),  # 0.00205
        (399, 0.0, True),  # Dice 0.9975
        (398, 0.0, False),  # Dice 0.99499
    ],
)
def test_agreement_is_held_to_its_limits(side: int, logit: float, agrees: bool) -> None:
    film = [np.zeros((3, 400, 400), np.float32)]
    if agrees:
        require_agreement(Constant(400, 0.0), Constant(side, logit), film)
        return
    with pytest.raises(WeightsError, match="does not give torch's results"):
        require_agreement(Constant(400, 0.0), Constant(side, logit), film)


@pytest.mark.parametrize("engine", EXACT)
@pytest.mark.parametrize("content", [b"", b"\x08\x08\x12\x04none", b"<html>"], ids=["empty", "cut", "page"])
def test_damaged_onnx_file(engine, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content)
    onnx = OnnxFile(name="damaged.onnx", bytes=max(1, len(content)), sha256="0" * 64, sources=())
    with pytest.raises(WeightsError) as caught:
        network_of_onnx(onnx, path, engine)
    assert caught.value.code == "WEIGHTS_DAMAGED"


def test_onnx_file_beside_given_weights_must_be_the_entrys(tmp_path: Path) -> None:
    entry = load_manifest().entry()
    file = tmp_path / "mine.safetensors"
    file.symlink_to(locate(entry))
    file.with_suffix(".onnx").write_bytes(b"\x08another")
    with pytest.raises(WeightsError) as caught:
        load_network(entry, file, engine=Engine.OPENVINO)
    assert caught.value.code == "WEIGHTS_NOT_THIS_FILE"


@pytest.fixture
def installed(monkeypatch):
    """Set which engines are installed and whether there is a GPU."""

    def pretend(*names: str, gpu: bool = False) -> None:
        monkeypatch.setattr(engines, "find_spec", lambda name: object() if name in names else None)
        monkeypatch.setattr(engines, "_has_gpu", lambda: gpu)

    return pretend


def test_engine_is_chosen_by_the_machine(installed) -> None:
    installed("openvino", "onnxruntime", "torch")
    assert choose_engine() is Engine.OPENVINO
    installed("openvino", "onnxruntime", "torch", gpu=True)
    assert choose_engine() is Engine.TORCH
    installed("openvino", "onnxruntime", gpu=True)
    assert choose_engine() is Engine.OPENVINO
    installed("onnxruntime", "torch")
    assert choose_engine() is Engine.ONNX_RUNTIME
    installed("torch")
    assert choose_engine() is Engine.TORCH


def test_engine_asked_for_is_used_or_refused(installed) -> None:
    installed("openvino", "torch", gpu=True)
    assert choose_engine(" OpenVINO ") is Engine.OPENVINO
    for wanted, code in (("onnxruntime", "ENGINE_MISSING"), ("tensorrt", "ENGINE_UNKNOWN")):
        with pytest.raises(SettingsError) as caught:
            choose_engine(wanted)
        assert caught.value.code == code
    installed()
    with pytest.raises(SettingsError) as caught:
        choose_engine()
    assert caught.value.code == "ENGINE_MISSING"


def test_weights_that_only_torch_can_run_say_so_where_it_is_missing(tmp_path, installed, monkeypatch) -> None:
    monkeypatch.setenv("PTX_CACHE", str(tmp_path / "cache"))
    weights, file = small_weights(tmp_path)
    installed("openvino")
    with pytest.raises(WeightsError) as caught:
        load_network(weights, file)
    assert caught.value.code == "WEIGHTS_NEED_TORCH"


WITHOUT_TORCH = """
import json, socket, sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        hidden = name.split(".")[0] in ("torch", "torchvision", "timm", "segmentation_models_pytorch", "onnx")
        return None if hidden else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

def refuse(*_):
    raise AssertionError("something was sent")

if sys.argv[1] == "hidden":
    sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
socket.socket.connect = socket.getaddrinfo = refuse

from ptx_app import Detector
from ptx_app.film.examples import EXAMPLES

detector = Detector.load()
finding = detector.detect(EXAMPLES[0].data())
heavy = ("torch", "torchvision", "timm", "segmentation_models_pytorch", "openvino_telemetry", "onnx", "albumentations")
imported = [name for name in heavy if name in sys.modules]
print(json.dumps({"engine": detector.network.engine, "score": finding.score, "heavy": imported}))
"""


@pytest.mark.parametrize("torch_is", ["installed", "hidden"])
def test_app_side_imports_no_torch_and_sends_nothing(torch_is: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, torch_is], cwd=ROOT, capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert told["engine"].startswith("OpenVINO")
    assert told["heavy"] == []
    assert 0 < told["score"] < 1


def test_a_signal_arrives_after_networks_of_openvino_are_gone() -> None:
    code = """
import os, signal
from ptx_app.model.engine import Engine
from ptx_app.model.manifest import load_manifest
from ptx_app.weights.load import load_network

signal.signal(signal.SIGTERM, lambda *_: print("arrived"))
first, second = (load_network(load_manifest().entry(), engine=Engine.OPENVINO) for _ in range(2))
del first, second
os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "arrived\n")


def test_scores_do_not_depend_on_the_engine(films) -> None:
    entry = load_manifest().entry()
    scores = [
        [Detector(entry, load_network(entry, engine=engine)).predict(NetworkInput(film)).score for film in films]
        for engine in Engine
    ]
    np.testing.assert_allclose(scores[0], scores[2], atol=5e-4)
    np.testing.assert_allclose(scores[1], scores[2], atol=5e-4)
