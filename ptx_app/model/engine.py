"""What computes networks on this machine."""

import shutil
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from ptx_app.errors import SettingsError


class Engine(StrEnum):
    """What computes a network. Verdicts and scores are the same with each."""

    OPENVINO = "openvino"
    ONNX_RUNTIME = "onnxruntime"
    TORCH = "torch"

    @property
    def installed(self) -> bool:
        """Whether its package is installed. Does not import it."""
        return find_spec(self.value) is not None


def choose_engine(wanted: str | None = None) -> Engine:
    """The engine to use: the one asked for; else torch where there is a GPU; else the first installed, in their order.

    Raises:
        SettingsError: ENGINE_UNKNOWN, ENGINE_MISSING if it, or any, is not installed.
    """
    if wanted is not None:
        try:
            engine = Engine(wanted.strip().lower())
        except ValueError:
            names = ", ".join(Engine)
            raise SettingsError("ENGINE_UNKNOWN", f"There is no engine {wanted}. Choose one of: {names}.") from None
        if not engine.installed:
            raise SettingsError("ENGINE_MISSING", f"The package {engine} is not installed. Run pip install {engine}.")
        return engine
    if Engine.TORCH.installed and _has_gpu():
        return Engine.TORCH
    for engine in Engine:
        if engine.installed:
            return engine
    raise SettingsError("ENGINE_MISSING", "No engine is installed. Run pip install openvino.")


def _has_gpu() -> bool:
    """Whether torch can use CUDA. Imports torch, which takes seconds, only if there is an NVIDIA driver."""
    if not Path("/proc/driver/nvidia/version").exists() and shutil.which("nvidia-smi") is None:
        return False
    import torch

    return torch.cuda.is_available()
