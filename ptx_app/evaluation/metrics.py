"""Metrics on arrays of scores, labels and masks, and their bootstrap intervals."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss, roc_auc_score

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

WANTED_SPECIFICITY = 0.92  # specificity at which sensitivities are compared
BOOTSTRAP_DRAWS = 1000


def dice(predicted: Bools, truth: Bools) -> float:
    """Dice of two masks of the same shape, in [0, 1]. Two empty masks give 1, as in the SIIM-ACR challenge."""
    area = int(predicted.sum()) + int(truth.sum())
    return 2 * int((predicted & truth).sum()) / area if area else 1.0


def iou(predicted: Bools, truth: Bools) -> float:
    """Intersection over union of two masks of the same shape, in [0, 1]. Two empty masks give 1."""
    union = int((predicted | truth).sum())
    return int((predicted & truth).sum()) / union if union else 1.0


def auc(score: Floats, positive: Bools) -> float:
    """Area under the ROC curve: the share of correctly ranked pairs; ties count half. NaN if a class is missing.

    Args:
        score: (N,), higher for a more likely pneumothorax.
        positive: (N,), the truth.
    """
    return float(roc_auc_score(positive, score)) if positive.any() and not positive.all() else float("nan")


def sensitivity(score: Floats, positive: Bools, threshold: float) -> float:
    """Share of positive films with a score of at least the threshold. NaN without positives."""
    return _mean(score[positive] >= threshold)


def specificity(score: Floats, positive: Bools, threshold: float) -> float:
    """Share of negative films with a score below the threshold. NaN without negatives."""
    return _mean(score[~positive] < threshold)


def sensitivity_at_specificity(score: Floats, positive: Bools, wanted: float = WANTED_SPECIFICITY) -> float:
    """The highest sensitivity of any threshold with at least the wanted specificity, from these films' own ROC curve.

    NaN if a class is missing.
    """
    negatives = np.sort(score[~positive])
    if not negatives.size or not positive.any():
        return float("nan")
    spared = math.ceil(wanted * negatives.size - 1e-9)
    return _mean(score[positive] > negatives[spared - 1]) if spared else 1.0


def brier(score: Floats, positive: Bools) -> float:
    """Mean squared difference between score and truth, (N,) each (Brier 1950), in [0, 1]. NaN without films."""
    return float(brier_score_loss(positive, score)) if len(score) else float("nan")


def calibration_error(score: Floats, positive: Bools, bins: int = 10) -> float:
    """Expected calibration error: |mean score - share of positives| in bins of equal width, averaged over films.

    NaN without films.
    """
    place = np.minimum((score * bins).astype(int), bins - 1)
    gaps = [abs(float((score - positive)[place == index].sum())) for index in range(bins)]
    return sum(gaps) / len(score) if len(score) else float("nan")


def _mean(values: NDArray[np.generic]) -> float:
    return float(np.mean(values.astype(np.float64))) if values.size else float("nan")


def bootstrap(
    statistic: Callable[[NDArray[np.intp]], float], groups: Sequence[str], draws: int | None = None, seed: int = 1
) -> tuple[float, float]:
    """95 % interval of a statistic by a percentile bootstrap that draws patients with all their films.

    Args:
        statistic: function of the indices of the drawn films, which may repeat. Draws that give NaN are ignored.
        groups: the patient of each film.
        draws: how many; None for BOOTSTRAP_DRAWS.
        seed: of the draws.

    Returns:
        (low, high); NaN if every draw gave NaN.
    """
    _, inverse = np.unique(np.asarray(groups), return_inverse=True)
    films = [np.flatnonzero(inverse == group) for group in range(int(inverse.max()) + 1)]
    chance = np.random.default_rng(seed)
    values = []
    for _ in range(BOOTSTRAP_DRAWS if draws is None else draws):
        chosen = chance.integers(0, len(films), len(films))
        values.append(statistic(np.concatenate([films[group] for group in chosen])))
    known = np.asarray([value for value in values if not np.isnan(value)])
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def wilson(hits: int, tries: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (JASA 1927;22:209), rounded to four decimals; (0, 1) without tries."""
    if not tries:
        return 0.0, 1.0
    low, high = binomtest(hits, tries).proportion_ci(method="wilson")
    return round(float(low), 4), round(float(high), 4)
