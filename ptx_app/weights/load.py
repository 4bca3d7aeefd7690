"""From an entry of the manifest to a network that runs, with the engine of this machine."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ptx_app.errors import WeightsError
from ptx_app.model.engine import Engine, choose_engine
from ptx_app.model.manifest import LungFields, OnnxFile, Source, Weights
from ptx_app.model.network import Network
from ptx_app.weights.download import Progress, plain_disk_errors
from ptx_app.weights.fetch import cached_path, locate
from ptx_app.weights.verify import digest


def load_network(
    weights: Weights | LungFields,
    file: Path | None = None,
    *,
    engine: Engine | None = None,
    given: Sequence[Source] = (),
    progress: Progress | None = None,
) -> Network:
    """The network of an entry, ready to be called.

    Engines other than torch run the entry's ONNX file. If it has none, one is made from its weights, which takes half a
    minute and needs torch, and is kept in the cache.

    Args:
        weights: the entry.
        file: its safetensors file, already verified, with the ONNX file beside it if the entry has one; None to look
            for them.
        engine: None for `choose_engine`'s choice.
        given, progress: as for `locate`.

    Raises:
        SettingsError: as `choose_engine`.
        WeightsError: as `locate` and the networks; WEIGHTS_NEED_TORCH, EXPORT_FAILED.
    """
    engine = engine or choose_engine()
    if engine is Engine.TORCH:
        from ptx_app.model.torch_network import TorchNetwork  # torch takes seconds to import

        return TorchNetwork(weights, file or locate(weights, given=given, progress=progress))
    if weights.onnx is not None:
        beside = [Source(kind="file", location=str(file.with_suffix(".onnx")))] if file else []
        onnx, path = weights.onnx, locate(weights.onnx, given=beside, progress=progress)
    else:
        onnx, path = _exported(weights, file or locate(weights, given=given, progress=progress))
    return network_of_onnx(onnx, path, engine)


def network_of_onnx(onnx: OnnxFile, path: Path, engine: Engine) -> Network:
    """The network of an ONNX file, computed by an engine other than torch. Raises WeightsError WEIGHTS_DAMAGED."""
    if engine is Engine.OPENVINO:
        from ptx_app.model.openvino_network import OpenVinoNetwork

        return OpenVinoNetwork(onnx, path)
    from ptx_app.model.onnxruntime_network import OnnxRuntimeNetwork

    return OnnxRuntimeNetwork(onnx, path)


def _exported(weights: Weights | LungFields, file: Path) -> tuple[OnnxFile, Path]:
    """The ONNX file made of a weights file, from the cache or by a child process, so that torch stays out of this one.

    Its name has the hash of the weights. The decoder runs in fp32: its ranges need training films.
    """
    target = cached_path(weights).with_suffix(".onnx")
    if not target.is_file():
        if not Engine.TORCH.installed:
            raise WeightsError(
                "WEIGHTS_NEED_TORCH",
                f"{weights.name} has no ONNX file, and torch, which can make one, is not installed. "
                "Install requirements.txt, or choose other weights.",
            )
        with plain_disk_errors():
            target.parent.mkdir(parents=True, exist_ok=True)
        entry = type(weights).__name__, weights.model_dump_json()
        command = [sys.executable, "-m", "ptx_app.checked_export", *entry, str(file), str(target)]
        done = subprocess.run(command, capture_output=True, check=False, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""})  # noqa: S603
        if done.returncode != 0:
            raise WeightsError(
                "EXPORT_FAILED",
                f"{weights.name} could not be made into an ONNX file that gives torch's results. "
                "Set PTX_ENGINE to torch, or choose other weights.",
            )
    name = f"{weights.name}.onnx"[-64:]
    return OnnxFile(name=name, bytes=target.stat().st_size, sha256=digest(target), sources=()), target
