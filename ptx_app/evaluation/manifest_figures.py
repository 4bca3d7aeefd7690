"""A model's figures in the manifest, from films that neither its weights nor its thresholds were fitted to."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptx_app.evaluation.known_films import PredictedFilm
from ptx_app.evaluation.metrics import auc, bootstrap, dice
from ptx_app.inference.decide import Thresholds, decide
from ptx_app.model.manifest import Calibration

PLACES = 4  # of measured values


def scores_of(films: Sequence[PredictedFilm], calibration: Calibration) -> NDArray[np.float64]:
    """The films' calibrated scores, (N,)."""
    return np.asarray([film.prediction.calibrated(calibration).score for film in films])


def positives_of(films: Sequence[PredictedFilm]) -> NDArray[np.bool_]:
    """Whether each film is positive, (N,)."""
    return np.asarray([film.positive for film in films], np.bool_)


def manifest_figures(
    films: Sequence[PredictedFilm], calibration: Calibration, thresholds: Thresholds
) -> dict[str, Any]:
    """The manifest's figures for a set of films: AUC, and mean Dice on all positives, flagged or not.

    Each has its 95 % interval by patient.
    """
    scores, positive = scores_of(films, calibration), positives_of(films)
    overlap = np.asarray(
        [dice(outline(film, thresholds), film.truth) if film.positive and film.outlined else np.nan for film in films]
    )
    figures: dict[str, Any] = {
        "films": len(films),
        "positives": int(positive.sum()),
        "mask_threshold": thresholds.mask_threshold,
    }
    measured: dict[str, Callable[[NDArray[np.intp]], float]] = {
        "auc": lambda chosen: auc(scores[chosen], positive[chosen]),
        "dice_positive": lambda chosen: mean_known(overlap[chosen]),
    }
    for name, statistic in measured.items():
        figures[name] = round(statistic(np.arange(len(films))), PLACES)
        low, high = bootstrap(statistic, [film.group for film in films])
        figures[f"{name}_interval"] = [round(low, PLACES), round(high, PLACES)]
    return figures


def outline(film: PredictedFilm, thresholds: Thresholds) -> NDArray[np.bool_]:
    """The mask that a film would be shown with if it were flagged, at the size of its truth (H, W)."""
    return decide(film.prediction, film.shape, replace(thresholds, score=0.0)).mask


def mean_known(values: NDArray[np.float64]) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
