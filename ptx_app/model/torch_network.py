"""Networks computed by torch, in training and on GPUs. The app imports torch only here."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from ptx_app.errors import WeightsError
from ptx_app.model.manifest import LungFields, NetworkSpec, Weights
from ptx_app.model.network import NetworkOutput
from ptx_app.model.torchvision_ops import declare_missing_operators


def build_module(spec: NetworkSpec, encoder_weights: str | None = None) -> torch.nn.Module:
    """Build the network that `spec` names, for the app and for training.

    It maps (N, channels, S, S) to a pair: mask logits (N, 1, S, S) and image-level logits (N, 1).

    Args:
        spec: architecture, encoder and head.
        encoder_weights: None, or a name that segmentation_models_pytorch downloads, such as "imagenet".

    Raises:
        WeightsError: NETWORK_UNKNOWN if segmentation_models_pytorch has no such architecture or encoder.
    """
    declare_missing_operators()
    import segmentation_models_pytorch as smp

    options: dict[str, Any] = {"decoder_attention_type": spec.decoder_attention} if spec.decoder_attention else {}
    if spec.decoder_channels is not None:
        options["decoder_channels"] = spec.decoder_channels
    try:
        module: torch.nn.Module = getattr(smp, spec.architecture)(
            spec.encoder,
            encoder_weights=encoder_weights,
            classes=1,
            aux_params={"classes": 1, "pooling": spec.head_pooling, "dropout": spec.head_dropout},
            **options,
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise WeightsError(
            "NETWORK_UNKNOWN",
            f"There is no network {spec.architecture} with encoder {spec.encoder}. Check entry or configuration.",
        ) from error
    return module


def with_activation(module: torch.nn.Module, films: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mask logits and image-level logits, and where the latter come from: the class activation (N, 1, s, s).

    It is the encoder's last feature map, its channels weighted as the image-level head weights them. That head is one
    linear layer on pooled features, so this is Grad-CAM (Selvaraju et al., ICCV 2017) but for a factor, before its
    negative values are set to zero.
    """
    network: Any = module
    features = network.encoder(films)
    mask = network.segmentation_head(network.decoder(features))
    linear = next(layer for layer in network.classification_head if isinstance(layer, torch.nn.Linear))
    activation = torch.nn.functional.conv2d(features[-1], linear.weight[:, :, None, None])
    return mask, network.classification_head(features[-1]), activation


def choose_device() -> torch.device:
    """CUDA if available, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class TorchNetwork:
    """A network with its weights loaded, ready to be called."""

    def __init__(self, weights: Weights | LungFields, path: Path, device: torch.device | None = None) -> None:
        """Load a safetensors file into the network of a manifest entry.

        Raises:
            WeightsError: WEIGHTS_DAMAGED if it is not a readable safetensors file, WEIGHTS_MISFIT if it belongs to
                another network.
        """
        self.device = device or choose_device()
        module = build_module(weights.network)
        try:
            state = load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(
                "WEIGHTS_DAMAGED", f"The weights file of {weights.name} is damaged. Delete it and restart."
            ) from error
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsError(
                "WEIGHTS_MISFIT",
                f"The weights file of {weights.name} does not fit the network in its entry. Check the entry.",
            ) from error
        self.module: torch.nn.Module = module.to(self.device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self.engine = f"torch, {self.device.type}"

    def __call__(self, batch: NDArray[np.float32]) -> NetworkOutput:
        """Run (N, channels, S, S) float32 through the network."""
        tensor = torch.from_numpy(batch).to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.float16, enabled=self._half):
            outputs = with_activation(self.module, tensor)
        mask, score, activation = (output[:, 0].float().cpu().numpy() for output in outputs)
        return NetworkOutput(mask, score, activation)

    @property
    def _half(self) -> bool:
        return self.device.type == "cuda"
