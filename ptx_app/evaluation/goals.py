"""Goals for the default model on the validation films, and by how much it misses them."""

from collections.abc import Callable
from dataclasses import dataclass

from ptx_app.evaluation.document import EvaluationDocument
from ptx_app.evaluation.metrics import WANTED_SPECIFICITY


@dataclass(frozen=True)
class Goal:
    """A figure's name in words, its minimum, and where it is in the evaluation's document."""

    figure: str
    least: float
    measured: Callable[[EvaluationDocument], EvaluationDocument]


def _best_challenge_dice(document: EvaluationDocument) -> EvaluationDocument:
    points = document["operating_points"].values()
    best: EvaluationDocument = max(
        (point["challenge_dice"] for point in points), key=lambda measured: float(measured["value"])
    )
    return best


GOALS = (
    Goal("Dice, mean, on positive films", 0.55, lambda document: document["overall"]["dice_mean"]),
    Goal("AUC", 0.95, lambda document: document["overall"]["auc"]),
    Goal("Challenge's mean Dice, the highest of the operating points", 0.85, _best_challenge_dice),
    Goal(
        f"Sensitivity at a specificity of {WANTED_SPECIFICITY}",
        0.85,
        lambda document: document["overall"]["sensitivity_at_specificity"],
    ),
)


def against_goals(document: EvaluationDocument) -> list[EvaluationDocument]:
    """A row for each goal: figure, goal, measured value with its interval, and by how much it is missed: 0 if it is
    met, None if nothing could be measured.
    """
    rows = []
    for goal in GOALS:
        measured = goal.measured(document)
        value = measured["value"]
        missed = None if value is None else round(max(0.0, goal.least - value), 4)
        rows.append({"figure": goal.figure, "goal": goal.least, "measured": measured, "missed_by": missed})
    return rows
