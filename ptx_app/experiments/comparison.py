"""Several configurations, trained on the same budget and measured the same way, in one table."""

import json
import os
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ptx_app.data.index import LabelledFilm, read_index
from ptx_app.data.split import validation_films
from ptx_app.errors import SettingsError
from ptx_app.evaluation.cost import Cost, measure_cost
from ptx_app.evaluation.document import EvaluationDocument
from ptx_app.evaluation.report import value
from ptx_app.evaluation.results import Results, differences, evaluate, results_of
from ptx_app.experiments.publishing import DEFAULT_POINT, chosen_and_seen, draft_entry, measured_points
from ptx_app.model.manifest import InputSpec, NetworkSpec, Weights
from ptx_app.model.torch_network import TorchNetwork
from ptx_app.pipeline import Detector
from ptx_app.process import typed_command
from ptx_app.training.configuration import Configuration, parse_configuration
from ptx_app.training.loop import TrainingRun
from ptx_app.training.run_folder import RunFolder

_STATE = "last"
_COLUMNS = {
    "auc": "AUC",
    "dice_mean": "Dice on positives",
    "iou_mean": "IoU on positives",
    "pixel_accuracy": "Pixel accuracy",
}
_DIFFERENCES = {"auc": "AUC, difference", "dice_mean": "Dice, difference"}
_COSTS = ("Parameters", "Multiply-adds", "s per film", "MiB", "Training, min")


@dataclass(frozen=True)
class Comparison:
    """A comparison: its file, its configurations (the first is the base), and notes for readers of the table."""

    path: Path
    configurations: Sequence[Configuration]
    notes: Sequence[str]


def read_comparison(path: Path) -> Comparison:
    """Read a comparison's file: a `base` table, `variants` with their changes to it, and `notes`.

    Every variant has the base's schedule, so that all have the same budget.

    Raises:
        SettingsError: CONFIGURATION_UNREADABLE, CONFIGURATION_INVALID, or COMPARISON_UNFAIR if a variant changes the
            schedule.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        base, variants = document["base"], document["variants"]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
        raise SettingsError(
            "CONFIGURATION_UNREADABLE",
            f"{path.name} is not readable as TOML with a base and variants. Correct the file.",
        ) from error
    found = [
        parse_configuration(merged(base, {"name": f"{path.stem}-{name}"} | changes))
        for name, changes in variants.items()
    ]
    if len({configuration.schedule for configuration in found}) > 1:
        raise SettingsError(
            "COMPARISON_UNFAIR", "The variants have different schedules. Use the base's schedule for all."
        )
    return Comparison(path, found, document.get("notes", ()))


def merged(base: EvaluationDocument, changes: EvaluationDocument) -> EvaluationDocument:
    """A document with changes merged into it, table by table."""
    both = {
        key: merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in changes.items()
    }
    return base | both


def compare(comparison: Comparison, data: Path, runs: Path, output: Path) -> Path | None:
    """Train what is not trained yet, measure everything on the validation films, and write NAME.md and NAME.json.

    NAME is that of the comparison's file.

    Variants that differ only in how the result is used share one run.

    Returns:
        Path of the Markdown table, or None if training was stopped; the same call then resumes it.

    Raises:
        SettingsError, WeightsError: as `TrainingRun.of`, `choose` and `TorchNetwork`.
    """
    trained: dict[str, tuple[RunFolder, Sequence[LabelledFilm]]] = {}
    for configuration in comparison.configurations:
        if _training_of(configuration) not in trained:
            training = TrainingRun.of(configuration, data, runs)
            if not training.train():
                return None
            trained[_training_of(configuration)] = training.folder, training.held_out
    validation = validation_films(read_index(data))
    rows: list[EvaluationDocument] = []
    costs: dict[tuple[NetworkSpec, InputSpec, bool], Cost] = {}
    base, document = None, EvaluationDocument()
    output.mkdir(parents=True, exist_ok=True)
    table = output / f"{comparison.path.stem}.md"
    for configuration in comparison.configurations:
        run, held_out = trained[_training_of(configuration)]
        row, results, weights = measured_row(configuration, run, held_out, validation)
        base = base or results
        costly = weights.network, weights.input, weights.flip_averaging
        if costly not in costs:
            costs[costly] = measure_cost(weights, run.weights_path(_STATE))
        rows.append(row | {"difference": differences(results, base), "cost": asdict(costs[costly])})
        document = {
            "command": typed_command(),
            "films_seen": configuration.schedule.films,
            "validation_films": len(validation),
            "validation_positives": sum(film.positive for film in validation),
            "held_out_films": len(held_out),
            "load_average": round(max(os.getloadavg()[0], document.get("load_average", 0.0)), 1),
            "notes": list(comparison.notes),
            "operating_point": DEFAULT_POINT,
            "rows": rows,
        }
        text = json.dumps(document, indent=2, allow_nan=False)
        table.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
        table.write_text(comparison_table(document), encoding="utf-8")
    return table


def _training_of(configuration: Configuration) -> str:
    """The part of a configuration that affects training: everything but names and publishing."""
    return configuration.model_dump_json(exclude={"name", "title", "publishing"})


def measured_row(
    configuration: Configuration,
    run: RunFolder,
    held_out: Sequence[LabelledFilm],
    validation: Sequence[LabelledFilm],
) -> tuple[EvaluationDocument, Results, Weights]:
    """One row of the table, the results behind it, and the manifest entry.

    They are those of a finished run's last weights, with thresholds from the held-out films and figures from the
    validation films. Not the best weights: on a small budget, which validation is best is luck.
    """
    draft = draft_entry(run, _STATE, configuration.publishing.flip_averaging)
    draft = draft.model_copy(update={"title": configuration.title})
    detector = Detector.around(draft, TorchNetwork(draft, run.weights_path(_STATE)))
    choice, seen = chosen_and_seen(configuration.publishing, detector, held_out, validation)
    weights = draft.model_copy(
        update={"calibration": choice.calibration, "operating_points": measured_points(choice, seen)}
    )
    results = results_of(seen, weights)
    document = evaluate(results, weights)
    figures = document["overall"] | document["operating_points"][weights.default_operating_point]
    row = {
        "title": weights.title,
        "side": weights.input.side,
        "sha256": weights.sha256,
        "flip_averaging": weights.flip_averaging,
        "training_minutes": float(run.read_log()[-1]["minutes"]),
    }
    return row | {name: figures[name] for name in _COLUMNS}, results, weights


def comparison_table(document: EvaluationDocument) -> str:
    """The comparison as a table, with 95 % intervals by patient."""
    heads = ["Model", "Side", *_COLUMNS.values(), *_DIFFERENCES.values(), *_COSTS, "Weights, sha256"]
    lines = [
        f"Written by `{document['command']}`. Each model saw {document['films_seen']:,} films in training. Figures are "
        f"from the {document['validation_films']} validation films ({document['validation_positives']} positive), "
        f"thresholds from {document['held_out_films']} held-out films. Dice and IoU are means over all positive films, "
        f'flagged or not. Pixel accuracy is at the operating point "{document["operating_point"]}". '
        "In brackets: 95 % interval by patient. "
        f'Differences are from "{document["rows"][0]["title"]}", paired by film. Time and memory are for one film on '
        f"two cores, at a load average of at most {document['load_average']}.",
        "",
        f"| {' | '.join(heads)} |",
        f"| {' | '.join('---' for _ in heads)} |",
    ]
    for number, row in enumerate(document["rows"]):
        cost, differing = row["cost"], row["difference"]
        cells = [row["title"], str(row["side"]), *(value(row[name]) for name in _COLUMNS)]
        cells += [value(differing[name]) if number else "" for name in _DIFFERENCES]
        cells += [f"{cost['parameters'] / 1e6:.1f} M", f"{cost['multiply_adds'] / 1e9:.1f} G"]
        cells += [f"{cost['seconds']:.2f}", f"{cost['peak_mib']:.0f}", f"{row['training_minutes']:.1f}"]
        cells.append(f"`{row['sha256'][:16]}…`")
        lines.append(f"| {' | '.join(cells)} |")
    for note in document["notes"]:
        lines += ["", note]
    return "\n".join(lines) + "\n"
