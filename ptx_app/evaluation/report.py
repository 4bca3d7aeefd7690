"""The evaluation as Markdown, from the same document as the JSON report."""

from collections.abc import Callable

from ptx_app.evaluation.document import EvaluationDocument
from ptx_app.evaluation.metrics import WANTED_SPECIFICITY
from ptx_app.evaluation.results import PREVALENCES

_NAMES = {
    "auc": "AUC",
    "dice_mean": "Dice, mean",
    "dice_median": "Dice, median",
    "iou_mean": "IoU, mean",
    "iou_median": "IoU, median",
    "sensitivity_at_specificity": f"Sensitivity at a specificity of {WANTED_SPECIFICITY}, from these films' ROC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    **{f"worth_at_{prevalence}": f"Value of a flag at {prevalence} %" for prevalence in PREVALENCES},
    "outlined_negatives": "Negative films with an outline",
    "other_side": "One-sided films with an outline on the other side",
    "region_recall": "Regions found",
    "region_precision": "Regions right",
    "challenge_dice": "Challenge's mean Dice",
    "dice_positive": "Dice on positives, as shown",
    "pixel_accuracy": "Pixel accuracy",
    "pixel_precision": "Pixel precision",
    "pixel_recall": "Pixel recall",
    "brier_before": "Brier score before calibration",
    "brier_after": "Brier score",
    "error_before": "Calibration error before calibration",
    "error_after": "Calibration error",
}

_VERDICTS = ("sensitivity", "specificity", *(f"worth_at_{prevalence}" for prevalence in PREVALENCES))


def markdown(document: EvaluationDocument, figures: dict[str, str]) -> str:
    """The report's text.

    Args:
        document: as `results.evaluate` returns it; with "hard_cases" from `hard_case_rows` if they were run.
        figures: caption to file name, in the folder of the report.
    """
    flips = "with" if document["flip_averaging"] else "without"
    lines = [
        f"# Evaluation of {document['model']}",
        "",
        f"Written by `{document['command']}`; no figure is typed by hand. "
        f"{_films(document)}, {flips} flip averaging. "
        "In brackets: 95 % interval, bootstrapped by patient. Weights: "
        f"sha256 `{document['sha256'][:16]}…`. Computed by {document['engine']}.",
        "",
        "## All films",
        "",
        "Dice and IoU are over all positive films, flagged or not, of the outline at the default operating point "
        f"(mask threshold {document['mask_threshold']}).",
        "",
        *_list(document["overall"]),
        "",
        *_goals(document.get("goals")),
        "## Operating points",
        "",
        "Masks are as the app shows them: a film that is not flagged has none. In the challenge's mean Dice, a "
        "negative film counts 1 with an empty mask and 0 with any other. Pixel figures pool the pixels of all films, "
        "region figures all regions: a region is found if the mask touches it, and right if it touches the truth. The "
        "value of a flag is the share of flagged films that have a pneumothorax, where 20, 5 or 1 % of all films do.",
        "",
        *_points(document, lambda name: name in _VERDICTS),
        "",
        *_points(document, lambda name: name not in _VERDICTS),
        "",
        "## By size and view",
        "",
        f'Sensitivity and specificity are at the operating point "{document["default_operating_point"]}". Positive '
        "films are grouped by mask area.",
        "",
        *_table({part["films"]: _shown(part) for part in document["by_size"]}, "Pneumothorax"),
        "",
        *_table({f"{part['films']} ({part['count']})": _shown(part) for part in document["by_view"]}, "View (films)"),
        "",
        "## Calibration",
        "",
        *_list(document["calibration"]),
    ]
    if document.get("against"):
        lines += ["", "## Film by film", "", *_against(document["against"])]
    if document.get("hard_cases"):
        lines += ["", "## Hard cases", "", *_hard_cases(document["hard_cases"])]
    for caption, file in figures.items():
        lines += ["", f"![{caption}]({file})"]
    return "\n".join(lines) + "\n"


def value(measured: EvaluationDocument) -> str:
    """A measured figure with its interval, as text."""
    if measured["value"] is None:
        return "–"
    if measured["low"] is None:
        return f"{measured['value']:.3f}"
    return f"{measured['value']:.3f} ({measured['low']:.3f} to {measured['high']:.3f})"


def _points(document: EvaluationDocument, chosen: Callable[[str], bool]) -> list[str]:
    points = document["operating_points"].items()
    parts = {name: {key: figure for key, figure in _shown(point).items() if chosen(key)} for name, point in points}
    return _table(parts, "Operating point")


def _shown(part: EvaluationDocument) -> dict[str, EvaluationDocument]:
    return {name: measured for name, measured in part.items() if name in _NAMES}


def _list(part: EvaluationDocument) -> list[str]:
    return [f"- {_NAMES[name]}: {value(measured)}" for name, measured in part.items()]


def _table(parts: dict[str, dict[str, EvaluationDocument]], what: str) -> list[str]:
    columns = list(next(iter(parts.values()))) if parts else []
    rows = [f"| {what} | {' | '.join(_NAMES[name] for name in columns)} |", "| --- " * (len(columns) + 1) + "|"]
    for name, part in parts.items():
        rows.append(f"| {name} | {' | '.join(value(part[column]) for column in columns)} |")
    return rows


def _films(document: EvaluationDocument) -> str:
    if document.get("labels") != "reader":
        return (
            f"{document['films']} expert-labelled SIIM-ACR validation films of {document['patients']} patients, "
            f"{document['positives']} with a pneumothorax"
        )
    return (
        f"{document['films']} films labelled by readers of the page, {document['positives']} with a pneumothorax. The "
        "readers had seen a model's result before they answered, which favours that model, and they chose the films: "
        "these figures do not compare with those on expert labels. Outlines are measured only where a reader drew one: "
        f"on {document['outlined']} of the films. Each film counts as a patient of its own"
    )


def _goals(goals: list[EvaluationDocument] | None) -> list[str]:
    if goals is None:
        return []
    rows = ["| Figure | Goal | Measured | Missed by |", "| --- | --- | --- | --- |"]
    for row in goals:
        missed = "–" if row["missed_by"] is None else f"{row['missed_by']:.3f}" if row["missed_by"] else "met"
        goal = f"at {'most' if row['at_most'] else 'least'} {row['goal']}"
        rows.append(f"| {row['figure']} | {goal} | {value(row['measured'])} | {missed} |")
    tried = "What was tried, and what to try next, is in the [model card](../MODEL_CARD.md)."
    return ["## Goals", "", *rows, "", tried, ""]


def _against(other: EvaluationDocument) -> list[str]:
    changed = {
        "Films with a pneumothorax: newly flagged, no longer flagged": ("found_now", "missed_now"),
        "Films without one: no longer flagged, newly flagged": ("spared_now", "flagged_now"),
        "Outlines of films with a pneumothorax": ("better_outline", "worse_outline"),
    }
    return [
        f"Next to {other['model']} (sha256 `{other['sha256'][:16]}…`) on the same films, each model at its own default "
        "operating point. An outline is better or worse if the film's Dice changes by more than 0.1.",
        "",
        "| | Better | Worse |",
        "| --- | --- | --- |",
        *(f"| {what} | {other[better]} | {other[worse]} |" for what, (better, worse) in changed.items()),
        "",
        "Differences, paired by film:",
        "",
        *_list(other["differences"]),
    ]


def _hard_cases(cases: EvaluationDocument) -> list[str]:
    rows = [
        f"{cases['films']} of the films ({cases['positives']} positive), drawn at random, degraded in three strengths.",
        "",
        "| Films | Strength | AUC | Dice on all positives |",
        "| --- | --- | --- | --- |",
    ]
    for case in cases["cases"]:
        rows.append(f"| {case['case']} | {case['strength']} | {value(case['auc'])} | {value(case['dice_positive'])} |")
    return rows
