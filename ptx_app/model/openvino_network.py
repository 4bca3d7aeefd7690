"""Networks computed by OpenVINO, on CPUs."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptx_app.errors import WeightsError
from ptx_app.model.manifest import OnnxFile
from ptx_app.model.network import NetworkOutput, output_of
from ptx_app.model.openvino_runtime import core
from ptx_app.model.quantization import quantize_decoder

# Without this, newer processors would compute in bf16, and scores would depend on the machine.
_OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}


class OpenVinoNetwork:
    """A network with its weights loaded, ready to be called. Not for several threads at once."""

    def __init__(self, onnx: OnnxFile, path: Path) -> None:
        """Load an ONNX file of the manifest. Raises WeightsError WEIGHTS_DAMAGED."""
        self.engine = "OpenVINO, decoder int8" if onnx.decoder_ranges else "OpenVINO"
        try:
            model = core().read_model(path)
        except RuntimeError as error:
            raise WeightsError(
                "WEIGHTS_DAMAGED", f"The weights file of {onnx.name} is damaged. Delete it and restart."
            ) from error
        if onnx.decoder_ranges:
            quantize_decoder(model, onnx.decoder_ranges)
        self._model = core().compile_model(model, "CPU", _OPTIONS)

    def __call__(self, batch: NDArray[np.float32]) -> NetworkOutput:
        """Run (N, channels, S, S) float32 through the network, one film after the other: that is faster on a CPU."""
        return output_of([self._model(film[np.newaxis]).to_tuple() for film in batch])
