"""From a film to what the network says of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptx_app.inference.prepare import prepare
from ptx_app.model.manifest import Calibration, Weights
from ptx_app.model.network import Network


@dataclass(frozen=True)
class Prediction:
    """What the network says of one film.

    Attributes:
        score: calibrated probability in [0, 1] that there is a pneumothorax anywhere on the film.
        probability: (S, S) float32 in [0, 1], for each pixel of the network's square, that it is pneumothorax.
    """

    score: float
    probability: NDArray[np.float32]


def predict(network: Network, pixels: NDArray[np.float32], weights: Weights) -> Prediction:
    """Run one film through the network, with its mirror image where the weights ask for flip averaging.

    Args:
        network: numpy in, numpy out.
        pixels: (H, W) float32 in [0, 1], 1 = white = dense.
        weights: the manifest's entry: input, calibration, averaging.
    """
    square = prepare(pixels, weights.input)
    batch = np.stack([square, square[:, :, ::-1]]) if weights.flip_averaging else square[np.newaxis]
    output = network(np.ascontiguousarray(batch))
    probability = sigmoid(output.mask_logits)
    if weights.flip_averaging:
        probability = np.stack([probability[0], probability[1][:, ::-1]])
    return Prediction(
        score=calibrated_score(float(output.score_logits.mean()), weights.calibration),
        probability=probability.mean(axis=0, dtype=np.float32),
    )


def calibrated_score(logit: float, calibration: Calibration) -> float:
    """The image-level probability in [0, 1] for an image-level logit: sigmoid(logit / temperature + bias)."""
    return float(sigmoid(np.asarray([logit / calibration.temperature + calibration.bias], dtype=np.float32))[0])


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / (1 + exp(-logits)), by tanh so that no logit overflows."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), dtype=np.float32)
