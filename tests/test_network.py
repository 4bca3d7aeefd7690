"""The network that is built, and the bundled weights in it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from ptx_app.errors import WeightsError
from ptx_app.model.manifest import ROOT, NetworkSpec, Weights, load_manifest
from ptx_app.model.torch_network import TorchNetwork, build_module
from ptx_app.model.torchvision_ops import declare_missing_operators

SMALL = NetworkSpec(architecture="Unet", encoder="mobilenet_v2")


@pytest.fixture(scope="module")
def entry() -> Weights:
    return load_manifest().entry()


@pytest.fixture(scope="module")
def bundled(entry: Weights) -> Path:
    return next(ROOT / source.location for source in entry.sources if source.kind == "bundled")


@pytest.fixture(scope="module")
def network(entry: Weights, bundled: Path) -> TorchNetwork:
    return TorchNetwork(entry, bundled, torch.device("cpu"))


@pytest.fixture(scope="module")
def batch(entry: Weights) -> NDArray[np.float32]:
    side = entry.input.side
    return np.random.default_rng(3).uniform(-1, 1, (2, entry.input.channels, side, side)).astype(np.float32)


@pytest.mark.parametrize(
    "spec",
    [
        SMALL,
        SMALL.model_copy(update={"decoder_attention": "scse", "head_pooling": "avg"}),
        SMALL.model_copy(update={"architecture": "UnetPlusPlus"}),
    ],
)
def test_built_network_gives_mask_and_score_logits(spec: NetworkSpec) -> None:
    module = build_module(spec).eval()
    with torch.inference_mode():
        mask, score = module(torch.zeros(2, 3, 64, 64))
    assert mask.shape == (2, 1, 64, 64)
    assert score.shape == (2, 1)


def test_options_of_the_spec_reach_the_network() -> None:
    def kinds(spec: NetworkSpec) -> list[str]:
        return [type(part).__name__ for part in build_module(spec).modules()]

    assert "SCSEModule" in kinds(SMALL.model_copy(update={"decoder_attention": "scse"}))
    assert "SCSEModule" not in kinds(SMALL)
    assert "AdaptiveAvgPool2d" in kinds(SMALL.model_copy(update={"head_pooling": "avg"}))
    dropout = [
        part.p
        for part in build_module(SMALL.model_copy(update={"head_dropout": 0.7})).modules()
        if type(part) is torch.nn.Dropout
    ]
    assert 0.7 in dropout


@pytest.mark.parametrize(
    "spec",
    [
        SMALL.model_copy(update={"architecture": "Onet"}),
        SMALL.model_copy(update={"encoder": "none-such"}),
        SMALL.model_copy(update={"architecture": "encoders"}),
    ],
)
def test_unknown_network_is_refused(spec: NetworkSpec) -> None:
    with pytest.raises(WeightsError) as caught:
        build_module(spec)
    assert caught.value.code == "NETWORK_UNKNOWN"


def test_bundled_weights_give_finite_float32_of_the_right_shapes(
    network: TorchNetwork, batch: NDArray[np.float32]
) -> None:
    output = network(batch)
    assert output.mask_logits.shape == (2, *batch.shape[2:])
    assert output.score_logits.shape == (2,)
    for logits in (output.mask_logits, output.score_logits):
        assert logits.dtype == np.float32
        assert np.isfinite(logits).all()
    assert np.ptp(output.mask_logits) > 0


def test_films_of_a_batch_do_not_touch_each_other(network: TorchNetwork, batch: NDArray[np.float32]) -> None:
    together = network(batch)
    for film in range(2):
        alone = network(batch[film : film + 1])
        np.testing.assert_allclose(together.mask_logits[film], alone.mask_logits[0], rtol=1e-3, atol=1e-2)
        np.testing.assert_allclose(together.score_logits[film], alone.score_logits[0], rtol=1e-3, atol=1e-3)


def test_same_film_twice_gives_the_same(network: TorchNetwork, batch: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(network(batch).mask_logits, network(batch).mask_logits)  # dropout is off


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"\x80\x04\x95pickle", b"PK\x03\x04zip"], ids=["empty", "page", "pickle", "zip"]
)
def test_file_that_is_no_safetensors_is_damaged(entry: Weights, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    assert refusal(entry, path) == "WEIGHTS_DAMAGED"


def test_missing_or_cut_file_is_damaged(entry: Weights, bundled: Path, tmp_path: Path) -> None:
    assert refusal(entry, tmp_path / "none.safetensors") == "WEIGHTS_DAMAGED"
    cut = tmp_path / "cut.safetensors"
    with bundled.open("rb") as whole:
        cut.write_bytes(whole.read(1_000_000))
    assert refusal(entry, cut) == "WEIGHTS_DAMAGED"


def test_weights_of_another_network_do_not_fit(entry: Weights, bundled: Path, tmp_path: Path) -> None:
    assert refusal(entry.model_copy(update={"network": SMALL}), bundled) == "WEIGHTS_MISFIT"
    state = load_file(bundled)
    state.popitem()
    incomplete = tmp_path / "incomplete.safetensors"
    save_file(state, incomplete)
    assert refusal(entry, incomplete) == "WEIGHTS_MISFIT"


def refusal(entry: Weights, path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        TorchNetwork(entry, path, torch.device("cpu"))
    return caught.value.code


def test_torchvision_can_be_imported_however_often_its_operators_are_declared() -> None:
    for _ in range(2):
        declare_missing_operators()
    import torchvision

    assert torchvision.__version__
    assert hasattr(torch.ops.torchvision, "nms")
