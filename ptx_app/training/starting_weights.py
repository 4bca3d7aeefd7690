"""Starting weights: those of a whole network, of an encoder, or none."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ptx_app.errors import WeightsError
from ptx_app.model.manifest import ROOT
from ptx_app.model.torch_network import build_module
from ptx_app.training.configuration import NetworkSection

# The classifier's last convolution: segmentation_models_pytorch keeps it in EfficientNet encoders but never runs it.
_NEVER_RUN = ("_conv_head.", "_bn1.")


def build_network(section: NetworkSection) -> nn.Module:
    """The network of a configuration with its starting weights loaded.

    Raises:
        WeightsError: NETWORK_UNKNOWN, WEIGHTS_DAMAGED, WEIGHTS_MISFIT, WEIGHTS_UNREACHABLE.
    """
    downloads = section.encoder_weights == "imagenet" and section.start is None
    try:
        module = build_module(section.spec(), "imagenet" if downloads else None)
    except OSError as error:
        raise WeightsError(
            "WEIGHTS_UNREACHABLE",
            "The encoder's ImageNet weights cannot be downloaded. Set encoder_weights to a file instead.",
        ) from error
    if section.start is not None:
        load_exactly(module, read_state(ROOT / section.start))
    elif section.encoder_weights not in ("imagenet", "none"):
        load_exactly(module.get_submodule("encoder"), read_state(ROOT / section.encoder_weights))
    return module


def require_files(section: NetworkSection) -> None:
    """Check that the files of the starting weights are there: a run finds out before it prepares its films.

    Raises:
        WeightsError: WEIGHTS_MISSING.
    """
    wanted = section.start or section.encoder_weights
    if wanted not in ("imagenet", "none") and not (ROOT / wanted).is_file():
        raise WeightsError(
            "WEIGHTS_MISSING",
            f"The starting weights {wanted} are missing. Train or copy them there, or correct the configuration.",
        )


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file as float32. Int8 tensors are unpacked with the scale stored per output channel.

    Raises:
        WeightsError: WEIGHTS_DAMAGED.
    """
    try:
        packed = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            "WEIGHTS_DAMAGED", f"The starting weights {path.name} are damaged. Make or copy that file again."
        ) from error
    return {
        name: _unpacked(tensor, packed.get(f"{name}.scale"))
        for name, tensor in packed.items()
        if not (name.endswith(".scale") and name.removesuffix(".scale") in packed)
    }


def _unpacked(tensor: Tensor, scale: Tensor | None) -> Tensor:
    if scale is not None:
        return tensor.float() * scale.float().view(-1, *[1] * (tensor.ndim - 1))
    return tensor.float() if tensor.is_floating_point() else tensor


def load_exactly(module: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a state that must contain every tensor that the module uses; unused ones may be missing.

    It calls torch's own load_state_dict, because some encoders of segmentation_models_pytorch override it and do not
    report missing tensors.

    Raises:
        WeightsError: WEIGHTS_MISFIT.
    """
    misfit = WeightsError("WEIGHTS_MISFIT", "The starting weights belong to another network. Check the configuration.")
    try:
        missing, unexpected = nn.Module.load_state_dict(module, state, strict=False)
    except RuntimeError as error:
        raise misfit from error
    if unexpected or any(not _does_without(name) for name in missing):
        raise misfit


def _does_without(name: str) -> bool:
    return name.endswith("num_batches_tracked") or name.startswith(_NEVER_RUN)


def half_precision(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state as it is shipped: floats in fp16, or unchanged where a value is beyond its range; counters unchanged."""
    return {name: _halved(tensor).contiguous() for name, tensor in state.items()}


def _halved(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.to(torch.float16)
    return half if torch.equal(half.isfinite(), tensor.isfinite()) else tensor
