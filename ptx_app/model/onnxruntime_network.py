"""Networks computed by ONNX Runtime, on CPUs that OpenVINO is not made for."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptx_app.errors import WeightsError
from ptx_app.model.manifest import OnnxFile
from ptx_app.model.network import NetworkOutput, output_of


class OnnxRuntimeNetwork:
    """A network with its weights loaded, ready to be called. It computes in fp32."""

    engine = "ONNX Runtime"

    def __init__(self, onnx: OnnxFile, path: Path) -> None:
        """Load an ONNX file of the manifest. Raises WeightsError WEIGHTS_DAMAGED."""
        import onnxruntime
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, InvalidProtobuf

        options = onnxruntime.SessionOptions()
        # Otherwise its threads wait by spinning, which slows every other process down.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except (Fail, InvalidArgument, InvalidProtobuf) as error:
            raise WeightsError(
                "WEIGHTS_DAMAGED", f"The weights file of {onnx.name} is damaged. Delete it and restart."
            ) from error
        self._input = self._session.get_inputs()[0].name

    def __call__(self, batch: NDArray[np.float32]) -> NetworkOutput:
        """Run (N, channels, S, S) float32 through the network, one film after the other."""
        return output_of([self._session.run(None, {self._input: film[np.newaxis]}) for film in batch])
