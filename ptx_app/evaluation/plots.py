"""Plots of the evaluation: ROC, calibration, Dice against size. Also pictures of films, which must not be published."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # without pyplot, which would choose a window system
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_curve

from ptx_app.evaluation.known_films import KnownFilm, PredictedFilm
from ptx_app.evaluation.manifest_figures import outline
from ptx_app.evaluation.results import Results
from ptx_app.inference.decide import Thresholds
from ptx_app.model.manifest import Weights

_BINS = 10


def draw_figures(results: Results, weights: Weights, folder: Path) -> dict[str, str]:
    """Draw the plots as PNG files in a folder. Returns caption to file name."""
    figures = {
        "ROC of the image-level score, with the operating points": ("roc", _draw_roc),
        "Calibration: share of positives against the score, in ten bins": ("calibration", _draw_calibration),
        "Dice of positive films against the size of the pneumothorax": ("dice-by-size", _draw_dice_by_size),
    }
    files = {}
    for caption, (name, draw) in figures.items():
        figure = Figure(figsize=(4.5, 4), layout="constrained")
        draw(figure.subplots(), results, weights)
        files[caption] = f"evaluation-{name}.png"
        figure.savefig(folder / files[caption], dpi=120)
    return files


def _draw_roc(axis: Axes, results: Results, weights: Weights) -> None:
    false_alarms, found, _ = roc_curve(results.positive, results.score)
    axis.plot(false_alarms, found)
    for point in weights.operating_points:
        flagged = results.score >= point.score
        x, y = flagged[~results.positive].mean(), flagged[results.positive].mean()
        axis.plot(x, y, "o", label=point.name)
    axis.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axis.legend(frameon=False, loc="lower right")


def _draw_calibration(axis: Axes, results: Results, _weights: Weights) -> None:
    axis.plot([0, 1], [0, 1], color="0.8")
    for label, score in (("before", results.raw), ("after", results.score)):
        found, said = calibration_curve(results.positive, score, n_bins=_BINS)
        axis.plot(said, found, "o-", label=f"{label} calibration")
    axis.set(xlabel="score", ylabel="share of positive films")
    axis.legend(frameon=False)


def _draw_dice_by_size(axis: Axes, results: Results, weights: Weights) -> None:
    flagged = results.score >= weights.operating_point().score
    for label, chosen in (("flagged", flagged), ("missed", ~flagged)):
        rows = results.positive & chosen
        axis.plot(results.area[rows] * 100, results.dice[rows], "o", alpha=0.7, label=label)
    axis.set(xscale="log", xlabel="pneumothorax, % of the film", ylabel="Dice", ylim=(-0.02, 1.02))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("")
    axis.legend(frameon=False)


def draw_films(
    films: Sequence[KnownFilm], predicted: Sequence[PredictedFilm], results: Results, weights: Weights, folder: Path
) -> None:
    """Draw film, truth and prediction of the best, middle and worst positive films, and of the false positives with
    the highest scores at the default operating point.

    The pictures show films. Use a folder that is not published.

    Args:
        films: the films of `predicted` and `results`, in the same order.
        folder: is created if it is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in telling_films(results, weights.operating_point().score).items():
        figure = Figure(figsize=(9, 3 * max(len(rows), 1)))
        axes = figure.subplots(max(len(rows), 1), 3, squeeze=False)
        for line, row in zip(axes, rows, strict=False):
            height, width = films[row].pixels.shape
            prediction = predicted[row].prediction.calibrated(weights.calibration)
            thresholds = Thresholds.of(weights.operating_point())
            masks = (None, predicted[row].truth, outline(predicted[row], thresholds))
            for axis, mask in zip(line, masks, strict=True):
                axis.imshow(films[row].pixels, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
                if mask is not None:
                    axis.imshow(_red(mask), extent=(0, width, height, 0))
                axis.set_axis_off()
            line[0].set_title(f"score {prediction.score:.2f}", fontsize="small")
        figure.savefig(folder / f"{name}.png", dpi=80, bbox_inches="tight")


def telling_films(results: Results, score_threshold: float, count: int = 4) -> dict[str, NDArray[np.intp]]:
    """The rows of the films to look at: "best", "middle" and "worst" positive films by Dice, best first, and
    "false-alarms", the negative films that reach the score threshold, highest score first. At most `count` of each.
    """
    outlined = results.positive & ~np.isnan(results.dice)
    ranked = np.flatnonzero(outlined)[np.argsort(-results.dice[outlined])]
    start = max((len(ranked) - count) // 2, 0)
    flagged = np.flatnonzero(~results.positive & (results.score >= score_threshold))
    return {
        "best": ranked[:count],
        "middle": ranked[start : start + count],
        "worst": ranked[-count:],
        "false-alarms": flagged[np.argsort(-results.score[flagged])][:count],
    }


def _red(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    picture = np.zeros((*mask.shape, 4), np.float32)
    picture[mask] = (1, 0.2, 0, 0.45)
    return picture
