"""All figures of a model on films whose truth is known, with 95 % intervals by patient."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.evaluation.document import EvaluationDocument
from ptx_app.evaluation.goals import against_goals
from ptx_app.evaluation.known_films import PredictedFilm
from ptx_app.evaluation.manifest_figures import PLACES, mean_known, outline, positives_of, scores_of
from ptx_app.evaluation.metrics import (
    Bools,
    Floats,
    auc,
    bootstrap,
    brier,
    calibration_error,
    dice,
    iou,
    sensitivity,
    sensitivity_at_specificity,
    specificity,
)
from ptx_app.inference.decide import Thresholds, decide
from ptx_app.model.manifest import UNCALIBRATED, Calibration, Weights

Rows = NDArray[np.intp]
Statistic = Callable[[Rows], float]

PREVALENCES = (20, 5, 1)
"""In percent: how many of all films have a pneumothorax, for the value of a flag."""

_CLEARLY = 0.1  # change of a film's Dice that a reader would see

# Pixels by prediction and truth: true positive, false positive, false negative, true negative.
_HIT, _FALSE, _MISSED, _SPARED = range(4)


@dataclass(frozen=True)
class AtPoint:
    """The decisions at an operating point, film by film.

    Attributes:
        threshold: score threshold.
        dice: (N,) Dice of the mask that the app would show; two empty masks count 1. NaN, as all below is 0 or NaN, for
            a film without a true outline.
        pixels: (N, 4) share of the film's pixels that are true positive, false positive, false negative, true negative.
        outlined: (N,) whether the app would show any region.
        other_side: (N,) for positive films with a pneumothorax on one side, 1 if a region is shown on the other side
            and 0 if not; NaN for all other films.
        regions: (N, 4) number of true regions, of those touched by the mask, of regions shown, and of those that touch
            the truth.
    """

    threshold: float
    dice: Floats
    pixels: Floats
    outlined: Bools
    other_side: Floats
    regions: Floats


@dataclass(frozen=True)
class Results:
    """Films and results, film by film, (N,) each.

    Attributes:
        names, groups, views: of the films.
        positive, area: truth; the area is a share of the film, NaN without a true outline.
        raw, score: image-level score before and after calibration.
        dice, iou: of the outline at the default operating point, flagged or not; NaN for negative films and without a
            true outline.
        points: decisions by operating point.
    """

    names: NDArray[np.str_]
    groups: NDArray[np.str_]
    views: NDArray[np.str_]
    positive: Bools
    area: Floats
    raw: Floats
    score: Floats
    dice: Floats
    iou: Floats
    points: dict[str, AtPoint]


def results_of(films: Sequence[PredictedFilm], weights: Weights) -> Results:
    """Make the decision for every film as the app does."""
    positive = positives_of(films)
    default = Thresholds.of(weights.operating_point())
    overlaps = [_overlap(film, default) if film.positive and film.outlined else (np.nan, np.nan) for film in films]
    points = {}
    for point in weights.operating_points:
        thresholds = Thresholds.of(point)
        decided = [_decided(film, weights.calibration, thresholds) for film in films]
        columns = [np.asarray(column) for column in zip(*decided, strict=True)]
        points[point.name] = AtPoint(point.score, *columns)
    return Results(
        names=np.asarray([film.name for film in films]),
        groups=np.asarray([film.group for film in films]),
        views=np.asarray([str(film.view) for film in films]),
        positive=positive,
        area=np.asarray([film.truth.mean() if film.outlined else np.nan for film in films]),
        raw=scores_of(films, UNCALIBRATED),
        score=scores_of(films, weights.calibration),
        dice=np.asarray([dice for dice, _ in overlaps]),
        iou=np.asarray([iou for _, iou in overlaps]),
        points=points,
    )


def _overlap(film: PredictedFilm, thresholds: Thresholds) -> tuple[float, float]:
    mask = outline(film, thresholds)
    return dice(mask, film.truth), iou(mask, film.truth)


def _decided(
    film: PredictedFilm, calibration: Calibration, thresholds: Thresholds
) -> tuple[float, list[float], bool, float, list[int]]:
    """The values of one film in the order of AtPoint's attributes."""
    mask = decide(film.prediction.calibrated(calibration), film.shape, thresholds).mask
    if not film.outlined:
        return np.nan, [0.0] * 4, bool(mask.any()), np.nan, [0] * 4
    hit, marked, true = (float(what.mean()) for what in (mask & film.truth, mask, film.truth))
    pixels = [hit, marked - hit, true - hit, 1 - marked - true + hit]
    regions = [*_touched(film.truth, mask), *_touched(mask, film.truth)]
    return dice(mask, film.truth), pixels, bool(mask.any()), _other_side(film.truth, mask), regions


def _other_side(truth: Bools, mask: Bools) -> float:
    middle = truth.shape[1] // 2
    true, shown = (np.array([half.any() for half in np.split(what, [middle], axis=1)]) for what in (truth, mask))
    return float((shown & ~true).any()) if true.sum() == 1 else float("nan")


def _touched(regions: Bools, by: Bools) -> tuple[int, int]:
    """How many connected regions there are, and how many of them overlap the other mask."""
    count, labels = cv2.connectedComponents(regions.astype(np.uint8), connectivity=8)
    return count - 1, len(np.unique(labels[by & regions]))


def evaluate(results: Results, weights: Weights) -> EvaluationDocument:
    """All figures, as in the JSON report; each is {"value", "low", "high"} with its 95 % interval."""
    everyone = np.arange(len(results.names))
    default = results.points[weights.default_operating_point]
    document = {
        "model": weights.name,
        "sha256": weights.sha256,
        "flip_averaging": weights.flip_averaging,
        "films": len(everyone),
        "positives": int(results.positive.sum()),
        "patients": len(np.unique(results.groups)),
        "mask_threshold": weights.operating_point().mask_threshold,
        "default_operating_point": weights.default_operating_point,
        "overall": _measure(_overall(results), everyone, results.groups),
        "calibration": _measure(_calibration(results), everyone, results.groups),
        "operating_points": {
            point.name: {"score": point.score, "smallest_region": point.smallest_region}
            | _measure(_at_point(results, results.points[point.name]), everyone, results.groups)
            for point in weights.operating_points
        },
        "by_size": [
            {"films": name, "count": len(rows)} | _measure(_of_positives(results, default), rows, results.groups)
            for name, rows in thirds_by_size(results).items()
        ],
        "by_view": [
            {"films": str(view), "count": len(rows), "positives": int(results.positive[rows].sum())}
            | _measure(_of_both(results, default), rows, results.groups)
            for view in np.unique(results.views)
            for rows in [np.flatnonzero(results.views == view)]
        ],
    }
    return document | {"goals": against_goals(document)}


def differences(results: Results, base: Results) -> EvaluationDocument:
    """Differences between two models on the same films, paired by film, each with its 95 % interval by patient.

    Raises:
        ValueError: the films are not the same.
    """
    if results.names.tolist() != base.names.tolist():
        raise ValueError("A difference needs the same films.")
    everyone, own, other = np.arange(len(results.names)), _overall(results), _overall(base)

    def differing(name: str) -> Statistic:
        return lambda rows: own[name](rows) - other[name](rows)

    return _measure({name: differing(name) for name in ("auc", "dice_mean")}, everyone, results.groups)


def film_by_film(results: Results, weights: Weights, base: Results, of_base: Weights) -> EvaluationDocument:
    """A model next to another on the same films, each at its own default operating point.

    Counts of films whose verdict changes, by truth and direction; of positive films whose Dice rises or falls by more
    than 0.1; and the differences of `differences`.

    Raises:
        ValueError: the films are not the same.
    """
    flagged, before = (
        each.score >= each.points[entry.default_operating_point].threshold
        for each, entry in ((results, weights), (base, of_base))
    )
    changed = differences(results, base)
    change, positive = results.dice - base.dice, results.positive

    def count(films: Bools) -> int:
        return int(films.sum())

    return {
        "model": of_base.name,
        "sha256": of_base.sha256,
        "found_now": count(positive & flagged & ~before),
        "missed_now": count(positive & ~flagged & before),
        "spared_now": count(~positive & ~flagged & before),
        "flagged_now": count(~positive & flagged & ~before),
        "better_outline": count(change > _CLEARLY),
        "worse_outline": count(change < -_CLEARLY),
        "differences": changed,
    }


def thirds_by_size(results: Results) -> dict[str, Rows]:
    """Positive films with a true outline in three groups of about equal size by its area, smallest first."""
    positives = np.flatnonzero(results.positive & ~np.isnan(results.area))
    parts = np.array_split(positives[np.argsort(results.area[positives], kind="stable")], 3)
    return {
        f"{name} ({results.area[rows].min():.2%} to {results.area[rows].max():.2%} of the film)": rows
        for name, rows in zip(("small", "middle", "large"), parts, strict=True)
        if rows.size
    }


def _measure(statistics: dict[str, Statistic], rows: Rows, groups: NDArray[np.str_]) -> EvaluationDocument:
    return {name: interval(statistic, rows, groups) for name, statistic in statistics.items()}


def interval(statistic: Statistic, rows: Rows, groups: NDArray[np.str_]) -> EvaluationDocument:
    """A statistic of the films in `rows` with its interval. NaN becomes None."""
    low, high = bootstrap(lambda chosen: statistic(rows[chosen]), list(groups[rows]))
    named = {"value": statistic(rows), "low": low, "high": high}
    return {name: None if np.isnan(value) else round(value, PLACES) for name, value in named.items()}


def _overall(r: Results) -> dict[str, Statistic]:
    return {
        "auc": lambda rows: auc(r.score[rows], r.positive[rows]),
        "dice_mean": lambda rows: mean_known(r.dice[rows]),
        "dice_median": lambda rows: _median_known(r.dice[rows]),
        "iou_mean": lambda rows: mean_known(r.iou[rows]),
        "iou_median": lambda rows: _median_known(r.iou[rows]),
        "sensitivity_at_specificity": lambda rows: sensitivity_at_specificity(r.score[rows], r.positive[rows]),
    }


def _calibration(r: Results) -> dict[str, Statistic]:
    return {
        "brier_before": lambda rows: brier(r.raw[rows], r.positive[rows]),
        "brier_after": lambda rows: brier(r.score[rows], r.positive[rows]),
        "error_before": lambda rows: calibration_error(r.raw[rows], r.positive[rows]),
        "error_after": lambda rows: calibration_error(r.score[rows], r.positive[rows]),
    }


def _rates(r: Results, at: AtPoint) -> dict[str, Statistic]:
    return {
        "sensitivity": lambda rows: sensitivity(r.score[rows], r.positive[rows], at.threshold),
        "specificity": lambda rows: specificity(r.score[rows], r.positive[rows], at.threshold),
    }


def _at_point(r: Results, at: AtPoint) -> dict[str, Statistic]:
    def share(rows: Rows, above: tuple[int, ...], below: tuple[int, ...]) -> float:
        sums = at.pixels[rows].sum(0)
        whole = sums[list(below)].sum()
        return float(sums[list(above)].sum() / whole) if whole > 0 else float("nan")

    def counted(rows: Rows, part: int, whole: int) -> float:
        sums = at.regions[rows].sum(0)
        return float(sums[part] / sums[whole]) if sums[whole] else float("nan")

    def worth(rows: Rows, prevalence: float) -> float:
        found, spared = (rate(rows) for rate in _rates(r, at).values())
        flagged = found * prevalence + (1 - spared) * (1 - prevalence)
        return found * prevalence / flagged if flagged > 0 else float("nan")

    return _rates(r, at) | {
        **{f"worth_at_{prevalence}": partial(worth, prevalence=prevalence / 100) for prevalence in PREVALENCES},
        "outlined_negatives": lambda rows: mean_known(np.where(r.positive[rows], np.nan, at.outlined[rows])),
        "other_side": lambda rows: mean_known(at.other_side[rows]),
        "region_recall": partial(counted, part=1, whole=0),
        "region_precision": partial(counted, part=3, whole=2),
        "challenge_dice": lambda rows: mean_known(at.dice[rows]),
        "dice_positive": lambda rows: mean_known(np.where(r.positive[rows], at.dice[rows], np.nan)),
        "pixel_accuracy": partial(share, above=(_HIT, _SPARED), below=(_HIT, _FALSE, _MISSED, _SPARED)),
        "pixel_precision": partial(share, above=(_HIT,), below=(_HIT, _FALSE)),
        "pixel_recall": partial(share, above=(_HIT,), below=(_HIT, _MISSED)),
    }


def _of_positives(r: Results, at: AtPoint) -> dict[str, Statistic]:
    return {"dice_mean": _overall(r)["dice_mean"], "sensitivity": _rates(r, at)["sensitivity"]}


def _of_both(r: Results, at: AtPoint) -> dict[str, Statistic]:
    return {"auc": _overall(r)["auc"], "dice_mean": _overall(r)["dice_mean"]} | _rates(r, at)


def _median_known(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else float("nan")
