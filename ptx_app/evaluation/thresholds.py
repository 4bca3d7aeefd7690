"""Choosing calibration and thresholds on held-out films."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import minimize

from ptx_app.errors import SettingsError
from ptx_app.evaluation.known_films import PredictedFilm
from ptx_app.evaluation.metrics import Bools, Floats, dice
from ptx_app.inference.decide import Thresholds, decide
from ptx_app.inference.predict import mask_evidence
from ptx_app.model.manifest import Calibration

MASK_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(2, 19))
SMALLEST_REGIONS = (0.0, 0.0002, 0.0005, 0.001, 0.002, 0.005)  # shares of the film; 0.001 is 32 × 32 px of 1024 × 1024
_FLATTEST, _STEEPEST, _HEAVIEST = 20.0, 0.05, 20.0  # limits of temperature and weight; a fit beyond them is meaningless


class PublishingSection(BaseModel):
    """How thresholds are chosen on the held-out films.

    Attributes:
        flip_averaging: whether to average the outputs for the film and its mirror image.
        mask_evidence: whether the score uses the most confident part of the mask in addition to the head. Its weight is
            fitted on the held-out films, and is too high if an earlier stage was trained on them.
        prevalence: share of positive films that the score is calibrated for; 0.22 is the challenge's.
        sensitivity, specificity: to reach at the operating points "sensitive" and "specific", on the held-out films.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip_averaging: bool = False
    mask_evidence: bool = False
    prevalence: Annotated[float, Field(gt=0, lt=1)] = 0.22
    sensitivity: Annotated[float, Field(gt=0, le=1)] = 0.95
    specificity: Annotated[float, Field(gt=0, le=1)] = 0.95


@dataclass(frozen=True)
class Choice:
    """The choice: calibration, thresholds of each operating point by name, and number of films used."""

    calibration: Calibration
    points: dict[str, Thresholds]
    films: int


def choose(held_out: Sequence[PredictedFilm], section: PublishingSection) -> Choice:
    """Choose everything on held-out films. Raises SettingsError TOO_FEW_FILMS if a class is missing."""
    positive = np.asarray([film.positive for film in held_out], np.bool_)
    if positive.all() or not positive.any():
        raise SettingsError(
            "TOO_FEW_FILMS", "Thresholds need held-out films with and without a pneumothorax. Hold out some of both."
        )
    logits = np.asarray([film.prediction.logit for film in held_out])
    maps = [film.prediction.probability for film in held_out]
    evidence = np.asarray([mask_evidence(probability) if section.mask_evidence else 0.0 for probability in maps])
    calibration = fit_calibration(logits, evidence, positive, section.prevalence)
    scores = np.asarray([film.prediction.calibrated(calibration).score for film in held_out])
    mask_threshold, smallest = best_mask_threshold([film for film in held_out if film.positive])
    points = {
        name: Thresholds(score, mask_threshold, smallest)
        for name, score in score_thresholds(scores, positive, section.sensitivity, section.specificity).items()
    }
    return Choice(calibration, points, len(held_out))


def fit_calibration(logits: Floats, evidence: Floats, positive: Bools, prevalence: float) -> Calibration:
    """Temperature, bias and weight of the mask by maximum likelihood (Platt 1999), rounded to four decimals.

    Args:
        logits: image-level logits of the films, (N,).
        evidence: `mask_evidence` of each, (N,).
        positive: truth, (N,).
        prevalence: positives are weighted to have this share, because held-out films are drawn by label and do not
            have the natural share.
    """
    weight = np.where(positive, prevalence / positive.sum(), (1 - prevalence) / (~positive).sum())
    sign = np.where(positive, 1.0, -1.0)

    def likelihood(parameters: Floats) -> float:
        steepness, bias, mask_weight = parameters
        odds = logits * steepness + mask_weight * evidence + bias
        return float((weight * np.logaddexp(0, -sign * odds)).sum())

    # The likelihood is convex in the steepness, but not in the temperature.
    bounds = [(1 / _FLATTEST, 1 / _STEEPEST), (None, None), (0, _HEAVIEST)]
    found = minimize(likelihood, np.asarray([1.0, 0.0, 0.0]), method="L-BFGS-B", bounds=bounds)
    steepness, bias, mask_weight = (float(value) for value in found.x)
    return Calibration(temperature=round(1 / steepness, 4), bias=round(bias, 4), mask_weight=round(mask_weight, 4))


def best_mask_threshold(positives: Sequence[PredictedFilm]) -> tuple[float, float]:
    """The mask threshold, then the smallest region, with the best mean Dice on all positive films at the size of their
    masks. If several smallest regions are equally good, the largest is taken, as it leaves the fewest specks.
    """

    def mean_dice(mask_threshold: float, smallest: float) -> float:
        thresholds = Thresholds(0.0, mask_threshold, smallest)
        masks = (decide(film.prediction, film.shape, thresholds).mask for film in positives)
        return float(np.mean([dice(mask, film.truth) for mask, film in zip(masks, positives, strict=True)]))

    mask_threshold = max(MASK_THRESHOLDS, key=lambda mask_threshold: mean_dice(mask_threshold, 0.0))
    return mask_threshold, max(reversed(SMALLEST_REGIONS), key=lambda smallest: mean_dice(mask_threshold, smallest))


def score_thresholds(scores: Floats, positive: Bools, sensitivity: float, specificity: float) -> dict[str, float]:
    """Score thresholds of the three operating points, each halfway between the scores of two films.

    They have four decimals, or more if needed to separate these films.

    Args:
        scores, positive: of the held-out films.
        sensitivity: "sensitive" is the highest threshold that reaches it.
        specificity: "specific" is the lowest threshold that reaches it.

    Returns:
        "sensitive", "balanced" (the best sum of both, Youden 1950, within the range of the others) and "specific".
    """
    distinct = np.unique(scores)
    candidates = np.concatenate([[0.0], (distinct[1:] + distinct[:-1]) / 2, [1.0]])
    found = np.asarray([(scores[positive] >= candidate).mean() for candidate in candidates])
    spared = np.asarray([(scores[~positive] < candidate).mean() for candidate in candidates])
    sensitive = int(np.flatnonzero(found >= sensitivity)[-1])
    reached = np.flatnonzero(spared >= specificity)
    specific = int(reached[0]) if reached.size else len(candidates) - 1  # a negative film may have a score of 1
    balanced = int(np.clip(np.argmax(found + spared), min(sensitive, specific), max(sensitive, specific)))
    chosen = {"sensitive": sensitive, "balanced": balanced, "specific": specific}
    edges = np.concatenate([[-np.inf], distinct, [1.0]])
    return {
        name: _between(float(edges[index]), float(edges[index + 1]), float(candidates[index]))
        for name, index in chosen.items()
    }


def _between(below: float, above: float, middle: float) -> float:
    """`middle` with as few decimals, at least four, as keep it above `below` and at most `above`; else `above`."""
    rounded = (round(middle, places) for places in range(4, 17))
    return next((value for value in rounded if below < value <= above), above)
