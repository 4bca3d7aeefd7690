"""Runs the network on a prepared film."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.film.radiograph import Box
from ptx_app.inference.prepare import NetworkInput
from ptx_app.model.manifest import Calibration, Weights
from ptx_app.model.network import Network

_SUREST = 0.001  # share of the film: 12 × 12 px of 384 × 384, about the smallest pneumothorax that gets an outline


@dataclass(frozen=True)
class Prediction:
    """The network's output for one film.

    Attributes:
        score: calibrated probability in [0, 1] that there is a pneumothorax anywhere on the film.
        probability: (S, S) float32 in [0, 1]: the probability of pneumothorax for each pixel of the network's square.
        logit: image-level logit before calibration. With flip averaging, the mean of film and mirror image.
        shown: the part of the picture that the square shows; None for the film.
        field: the film's part of the picture; None for the whole picture.
        activation: (s, s) float32 over what the square shows: what each place adds to the score, as Grad-CAM has it;
            None if the network does not tell. Only its positive values, next to each other, mean something.
        frontal: False if the film check says that the view is not frontal; the sides of the patient are then unknown.
    """

    score: float
    probability: NDArray[np.float32]
    logit: float
    shown: Box | None = None
    field: Box | None = None
    activation: NDArray[np.float32] | None = None
    frontal: bool = True

    def over_picture(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """The probability for the whole picture of (H, W) px, 0 outside what the square shows.

        (S, S), still to be stretched, if the square shows the whole picture; else (H, W).
        """
        whole, box = Box(0, 0, *shape), self.seen(shape)
        if box == whole:
            return self.probability
        spread = np.zeros(shape, np.float32)
        box.of(spread)[...] = cv2.resize(self.probability, (box.width, box.height), interpolation=cv2.INTER_LINEAR)
        return spread

    def over_small(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """As `over_picture`, for the picture made so small that what the square shows has the square's pixels."""
        seen, (rows, columns) = self.seen(shape), self.probability.shape
        down, across = rows / seen.height, columns / seen.width
        return self.scaled(down, across).over_picture((round(shape[0] * down), round(shape[1] * across)))

    def seen(self, shape: tuple[int, int]) -> Box:
        """The part of a picture of (H, W) px that the square shows."""
        return self.shown or self.field or Box(0, 0, *shape)

    def scaled(self, rows: float, columns: float) -> "Prediction":
        """The same prediction for a picture with that many times the rows and columns."""
        shown, field = (box and box.scaled(rows, columns) for box in (self.shown, self.field))
        return replace(self, shown=shown, field=field)

    def calibrated(self, calibration: Calibration) -> "Prediction":
        """The same prediction with the score of another calibration."""
        return replace(self, score=calibrated_score(self.logit, self.probability, calibration))


def predict(network: Network, prepared: NetworkInput, weights: Weights) -> Prediction:
    """Run one film through the network, and its mirror image too if the weights use flip averaging.

    Args:
        network: numpy in, numpy out.
        prepared: the film, as it is prepared for these weights.
        weights: the manifest's entry, for calibration and flip averaging.
    """
    square = prepared.square
    batch = np.stack([square, square[:, :, ::-1]]) if weights.flip_averaging else square[np.newaxis]
    output = network(np.ascontiguousarray(batch))
    mean = _averaged(sigmoid(output.mask_logits))
    activation = None if output.activation is None else _averaged(output.activation)
    logit = float(output.score_logits.mean())
    score = calibrated_score(logit, mean, weights.calibration)
    return Prediction(score, mean, logit, prepared.shown, prepared.field, activation)


def _averaged(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of a film's map and its mirror image's, turned back; (1, S, S) is of the film alone."""
    return np.asarray(maps[0] if len(maps) == 1 else (maps[0] + maps[1][:, ::-1]) / np.float32(2), np.float32)


def calibrated_score(logit: float, probability: NDArray[np.float32], calibration: Calibration) -> float:
    """The image-level probability in [0, 1], from the image-level logit and the (S, S) pixel probabilities.

    It combines both because the image-level head and the mask make errors on different films.
    """
    evidence = calibration.mask_weight * mask_evidence(probability)
    return float(sigmoid(np.asarray([logit / calibration.temperature + evidence + calibration.bias], np.float32))[0])


def mask_evidence(probability: NDArray[np.float32]) -> float:
    """Log odds, in [-9.2, 9.2], of the mean over the most probable thousandth of the (S, S) pixels.

    It measures how sure the mask is of its surest part.
    """
    most = max(1, round(_SUREST * probability.size))
    mean = np.clip(np.partition(probability, -most, axis=None)[-most:].mean(dtype=np.float64), 1e-4, 1 - 1e-4)
    return float(np.log(mean / (1 - mean)))


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / (1 + exp(-logits)), computed with tanh, which cannot overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), dtype=np.float32)
