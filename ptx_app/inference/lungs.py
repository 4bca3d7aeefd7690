"""Where the lung fields are: the lungs beside the heart and above the diaphragm."""

import numpy as np
from numpy.typing import NDArray

from ptx_app.inference.predict import sigmoid
from ptx_app.inference.prepare import prepare
from ptx_app.model.manifest import InputSpec
from ptx_app.model.network import Network


def lung_probability(network: Network, pixels: NDArray[np.float32], spec: InputSpec) -> NDArray[np.float32]:
    """The probability in [0, 1] that a pixel belongs to a lung, (S, S) float32 for the network's square.

    Args:
        network: trained on lung masks; its image-level score means nothing.
        pixels: (H, W) float32 in [0, 1], 1 = white = dense.
        spec: the network's input.
    """
    return sigmoid(network(prepare(pixels, spec)[np.newaxis]).mask_logits[0])
