"""Goals for the default model on the validation films, and by how much it misses them."""

from collections.abc import Callable
from dataclasses import dataclass

from ptx_app.evaluation.document import EvaluationDocument
from ptx_app.evaluation.metrics import WANTED_SPECIFICITY


@dataclass(frozen=True)
class Goal:
    """A figure's name in words, its goal, where it is in the evaluation's document, and whether lower is better."""

    figure: str
    value: float
    measured: Callable[[EvaluationDocument], EvaluationDocument]
    at_most: bool = False


def _best_challenge_dice(document: EvaluationDocument) -> EvaluationDocument:
    measured = [point["challenge_dice"] for point in document["operating_points"].values()]
    best: EvaluationDocument = max(measured, key=lambda each: each["value"] or 0.0)  # None at all points, or at none
    return best


def _false_outlines(document: EvaluationDocument) -> EvaluationDocument:
    default: EvaluationDocument = document["operating_points"][document["default_operating_point"]]
    return default["outlined_negatives"]  # type: ignore[no-any-return]


GOALS = (
    Goal("Dice, mean, on positive films", 0.54, lambda document: document["overall"]["dice_mean"]),
    Goal("AUC", 0.965, lambda document: document["overall"]["auc"]),
    Goal("Challenge's mean Dice, the highest of the operating points", 0.865, _best_challenge_dice),
    Goal(
        f"Sensitivity at a specificity of {WANTED_SPECIFICITY}",
        0.88,
        lambda document: document["overall"]["sensitivity_at_specificity"],
    ),
    Goal(
        "Films without a pneumothorax that get an outline, at the default operating point", 0.08, _false_outlines, True
    ),
    Goal("Calibration error", 0.04, lambda document: document["calibration"]["error_after"], True),
)


def against_goals(document: EvaluationDocument) -> list[EvaluationDocument]:
    """A row for each goal: figure, goal, measured value with its interval, and by how much it is missed: 0 if it is
    met, None if nothing could be measured.
    """
    rows = []
    for goal in GOALS:
        measured = goal.measured(document)
        value = measured["value"]
        short = None if value is None else (value - goal.value if goal.at_most else goal.value - value)
        missed = None if short is None else round(max(0.0, short), 4)
        wanted = {"figure": goal.figure, "goal": goal.value, "at_most": goal.at_most}
        rows.append(wanted | {"measured": measured, "missed_by": missed})
    return rows
