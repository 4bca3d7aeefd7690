"""Several configurations trained on one budget and measured alike: one table."""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ptx_app.errors import SettingsError
from ptx_app.model.network import TorchNetwork
from ptx_app.training.catalogue import LabelledFilm, read_catalogue
from ptx_app.training.configuration import Configuration, parse_configuration
from ptx_app.training.cost import measure_cost
from ptx_app.training.evaluation import evaluate, results_of
from ptx_app.training.film_store import FilmStore
from ptx_app.training.loop import TrainingRun
from ptx_app.training.publishing import chosen_and_seen, describe, expert_films, measured_points
from ptx_app.training.run_folder import RunFolder
from ptx_app.training.split import training_films

Document = dict[str, Any]

_COLUMNS = {"auc": "AUC", "dice_mean": "Dice on positives", "iou_mean": "IoU", "pixel_accuracy": "Pixel accuracy"}


def read_comparison(path: Path) -> list[Configuration]:
    """The configurations of a comparison: a `base` table, and what each of `variants` changes in it.

    Every variant has the base's schedule, so that the budget is one for all.

    Raises:
        SettingsError: CONFIGURATION_UNREADABLE, CONFIGURATION_INVALID, COMPARISON_UNFAIR where a variant changes the
            films seen.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        base, variants = document["base"], document["variants"]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError) as error:
        raise SettingsError(
            "CONFIGURATION_UNREADABLE", f"{path.name} cannot be read as TOML with a base and variants."
        ) from error
    found = [
        parse_configuration(merged(base, {"name": f"{path.stem}-{name}"} | changes))
        for name, changes in variants.items()
    ]
    if len({configuration.schedule.films for configuration in found}) > 1:
        raise SettingsError("COMPARISON_UNFAIR", "The variants see different numbers of films. Give all the base's.")
    return found


def merged(base: Document, changes: Document) -> Document:
    """A document with changes made in it, table by table."""
    both = {
        key: merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in changes.items()
    }
    return base | both


def compare(configurations: Sequence[Configuration], data: Path, runs: Path, output: Path) -> Path | None:
    """Train what is not trained yet, measure all on the validation films, and write comparison.md and .json.

    Returns:
        The Markdown table's path, or None where training was stopped; the same call goes on with it.

    Raises:
        SettingsError, WeightsError: as `TrainingRun`, `choose` and `TorchNetwork`.
    """
    validation = expert_films(read_catalogue(data), "val")
    rows = []
    for configuration in configurations:
        films, held_out = training_films(configuration, data)
        run = RunFolder(runs / configuration.name)
        store = FilmStore([*films, *held_out], runs / "cache")
        if not TrainingRun(configuration, run, films, held_out, store).train():
            return None
        rows.append(measured(run, held_out, validation))
    output.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"films_seen": configurations[0].schedule.films, "rows": rows}, indent=2, allow_nan=False)
    (output / "comparison.json").write_text(text + "\n", encoding="utf-8")
    table = output / "comparison.md"
    table.write_text(markdown(rows, configurations[0].schedule.films), encoding="utf-8")
    return table


def measured(run: RunFolder, held_out: Sequence[LabelledFilm], validation: Sequence[LabelledFilm]) -> Document:
    """One row: a finished run's last weights, thresholds from the films held out, figures from the validation films.

    The last weights and not the best: which validation was the best is luck on a small budget.
    """
    file = run.path / "last.safetensors"
    draft = describe(run, file, None)
    network = TorchNetwork(draft, file)
    choice, seen = chosen_and_seen(run, draft, network, held_out, validation)
    weights = replace(draft, calibration=choice.calibration, operating_points=measured_points(choice, seen))
    document = evaluate(results_of(seen, weights), weights)
    figures = document["overall"] | document["operating_points"][weights.default_operating_point]
    return {
        "title": weights.title,
        "side": weights.input.side,
        "flip_averaging": weights.flip_averaging,
        "training_minutes": float(run.read_log()[-1]["minutes"]),
        "cost": asdict(measure_cost(weights, file)),
    } | {name: figures[name] for name in _COLUMNS}


def markdown(rows: Sequence[Document], films_seen: int) -> str:
    """The comparison as a table, with 95 % intervals by patient."""
    heads = ["Model", "Side", *_COLUMNS.values(), "Parameters", "Multiply-adds", "s a film", "MiB", "Training, min"]
    lines = [
        f"Each model saw {films_seen:,} films. In brackets: 95 % interval by patient.",
        "",
        f"| {' | '.join(heads)} |",
        f"| {' | '.join('---' for _ in heads)} |",
    ]
    for row in rows:
        cost = row["cost"]
        cells = [row["title"], str(row["side"]), *(_interval(row[name]) for name in _COLUMNS)]
        cells += [f"{cost['parameters'] / 1e6:.1f} M", f"{cost['multiply_adds'] / 1e9:.1f} G"]
        cells += [f"{cost['seconds']:.2f}", f"{cost['peak_mib']:.0f}", f"{row['training_minutes']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _interval(figure: dict[str, float | None]) -> str:
    if figure["value"] is None or figure["low"] is None or figure["high"] is None:
        return "unknown"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"
