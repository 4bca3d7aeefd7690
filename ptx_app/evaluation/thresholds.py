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

MASK_THRESHOLDS = tuple(step / 20 for step in range(2, 19))
SMALLEST_REGIONS = (0.0, 0.0002, 0.0005, 0.001, 0.002, 0.005)  # shares of the film; 0.001 is 32 × 32 px of 1024 × 1024
SUREST_PIXELS = tuple(step / 10 for step in range(10))
SMALLEST_RELATIVE = tuple(step / 20 for step in range(7))  # shares of the film's largest region
# Mean Dice that differs by less is about as good: another seed of training moves it by 0.01.
_ABOUT_AS_GOOD = 0.005
_FLATTEST, _STEEPEST, _HEAVIEST = 20.0, 0.05, 20.0  # limits of temperature and weight; a fit beyond them is meaningless


class PublishingSection(BaseModel):
    """How thresholds are chosen on the held-out films.

    Attributes:
        flip_averaging: whether to average the outputs for the film and its mirror image.
        mask_evidence: whether the score uses the most confident part of the mask in addition to the head. Its weight is
            fitted on the held-out films, and is too high if an earlier stage was trained on them.
        prevalence: share of positive films that the score is calibrated for; 0.22 is the challenge's.
        sensitivity: to reach at the operating point "sensitive", on the held-out films.
        balanced_specificity, specificity: to reach at "balanced" and "specific", on the held-out films.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip_averaging: bool = False
    mask_evidence: bool = False
    prevalence: Annotated[float, Field(gt=0, lt=1)] = 0.22
    sensitivity: Annotated[float, Field(gt=0, le=1)] = 0.95
    balanced_specificity: Annotated[float, Field(gt=0, le=1)] = 0.90
    specificity: Annotated[float, Field(gt=0, le=1)] = 0.97


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
    positives = [film for film in held_out if film.positive]
    points = {}
    for name, threshold in score_thresholds(scores, positive, section).items():
        flagged = [film for film, score in zip(positives, scores[positive], strict=True) if score >= threshold]
        points[name] = Thresholds(threshold, *best_outline(flagged or positives))
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


def best_outline(positives: Sequence[PredictedFilm]) -> tuple[float, float, float, float]:
    """Mask threshold, then smallest region, surest pixel and smallest relative to the largest, by the mean Dice on
    positive films at the size of their masks. Each is the highest value with a mean about as good as that of the best
    mask threshold alone: higher values leave fewer false regions.
    """

    def mean_dice(*outline: float) -> float:
        thresholds = Thresholds(0.0, *outline)
        masks = (decide(film.prediction, film.shape, thresholds).mask for film in positives)
        return float(np.mean([dice(mask, film.truth) for mask, film in zip(masks, positives, strict=True)]))

    means = {each: mean_dice(each, 0.0) for each in MASK_THRESHOLDS}
    enough = max(means.values()) - _ABOUT_AS_GOOD
    threshold = max(value for value, mean in means.items() if mean >= enough)
    smallest = max(value for value in SMALLEST_REGIONS if mean_dice(threshold, value) >= enough)
    surest = max(value for value in SUREST_PIXELS if mean_dice(threshold, smallest, value) >= enough)
    relative = max(value for value in SMALLEST_RELATIVE if mean_dice(threshold, smallest, surest, value) >= enough)
    return threshold, smallest, surest, relative


def score_thresholds(scores: Floats, positive: Bools, section: PublishingSection) -> dict[str, float]:
    """Score thresholds of the three operating points, each halfway between the scores of two films.

    They have four decimals, or more if needed to separate these films.

    Args:
        scores, positive: of the held-out films.
        section: the sensitivity that "sensitive" is the highest threshold for, and the specificities that "balanced"
            and "specific" are the lowest thresholds for. "balanced" lies between the others.
    """
    distinct = np.unique(scores)
    lowest_flagged = np.concatenate([[0.0], distinct[1:], [1.0]])
    middles = np.concatenate([[0.0], (distinct[1:] + distinct[:-1]) / 2, [1.0]])
    found = np.asarray([(scores[positive] >= candidate).mean() for candidate in lowest_flagged])
    spared = np.asarray([(scores[~positive] < candidate).mean() for candidate in lowest_flagged])

    def lowest(specificity: float) -> int:
        reached = np.flatnonzero(spared >= specificity)
        return int(reached[0]) if reached.size else len(middles) - 1  # a negative film may have a score of 1

    sensitive = int(np.flatnonzero(found >= section.sensitivity)[-1])
    specific = lowest(section.specificity)
    balanced = int(np.clip(lowest(section.balanced_specificity), min(sensitive, specific), max(sensitive, specific)))
    chosen = {"sensitive": sensitive, "balanced": balanced, "specific": specific}
    edges = np.concatenate([[-np.inf], distinct, [1.0]])
    return {
        name: _between(float(edges[index]), float(edges[index + 1]), float(middles[index]))
        for name, index in chosen.items()
    }


def _between(below: float, above: float, middle: float) -> float:
    """`middle` with as few decimals, at least four, as keep it above `below` and at most `above`; else `above`."""
    rounded = (round(middle, places) for places in range(4, 17))
    return next((value for value in rounded if below < value <= above), above)
