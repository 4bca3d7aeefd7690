"""From a prepared film to what the network says of it."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.film.radiograph import Box
from ptx_app.model.manifest import Calibration, Weights
from ptx_app.model.network import Network

_SUREST = 0.001  # share of the film, a square of 12 px at 384: about the smallest pneumothorax that is outlined


@dataclass(frozen=True)
class Prediction:
    """What the network says of one film.

    Attributes:
        score: calibrated probability in [0, 1] that there is a pneumothorax anywhere on the film.
        probability: (S, S) float32 in [0, 1], for each pixel of the network's square, that it is pneumothorax.
        logit: image-level, before calibration; the mean of both where flips are averaged.
        field: the part of the picture that the square shows; None if it shows all of it.
    """

    score: float
    probability: NDArray[np.float32]
    logit: float
    field: Box | None = None

    def over_picture(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """The probability to stretch over the whole picture of (H, W) px, 0 outside the field.

        (S, S) as it is if the field is all of the picture, else (H, W).
        """
        if self.field is None:
            return self.probability
        spread = np.zeros(shape, np.float32)
        size = (self.field.width, self.field.height)
        self.field.of(spread)[...] = cv2.resize(self.probability, size, interpolation=cv2.INTER_LINEAR)
        return spread

    def calibrated(self, calibration: Calibration) -> "Prediction":
        """The same answer with the score that another calibration gives."""
        return replace(self, score=calibrated_score(self.logit, self.probability, calibration))


def predict(network: Network, prepared: NDArray[np.float32], weights: Weights, field: Box | None = None) -> Prediction:
    """Run one film through the network, with its mirror image where the weights ask for flip averaging.

    Args:
        network: numpy in, numpy out.
        prepared: (channels, S, S) float32, as `prepare` makes it.
        weights: the manifest's entry: calibration, averaging.
        field: the part of the picture that was prepared; None if it was all of it.
    """
    batch = np.stack([prepared, prepared[:, :, ::-1]]) if weights.flip_averaging else prepared[np.newaxis]
    output = network(np.ascontiguousarray(batch))
    probability = sigmoid(output.mask_logits)
    if weights.flip_averaging:
        probability = np.stack([probability[0], probability[1][:, ::-1]])
    mean = probability.mean(axis=0, dtype=np.float32)
    logit = float(output.score_logits.mean())
    return Prediction(calibrated_score(logit, mean, weights.calibration), mean, logit, field)


def calibrated_score(logit: float, probability: NDArray[np.float32], calibration: Calibration) -> float:
    """The image-level probability in [0, 1], from the image-level logit and the (S, S) probability of the pixels.

    What the head says of the whole film and what the mask says of its surest part err on different films.
    """
    evidence = calibration.mask_weight * mask_evidence(probability)
    return float(sigmoid(np.asarray([logit / calibration.temperature + evidence + calibration.bias], np.float32))[0])


def mask_evidence(probability: NDArray[np.float32]) -> float:
    """How surely any part of the film is marked: the log odds of the mean of the most probable thousandth of (S, S)
    pixels, in [-9.2, 9.2].
    """
    most = max(1, round(_SUREST * probability.size))
    mean = np.clip(np.partition(probability, -most, axis=None)[-most:].mean(dtype=np.float64), 1e-4, 1 - 1e-4)
    return float(np.log(mean / (1 - mean)))


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / (1 + exp(-logits)), by tanh so that no logit overflows."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), dtype=np.float32)
