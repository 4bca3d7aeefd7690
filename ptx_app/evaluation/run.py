"""The whole evaluation of a model: predictions, figures, report."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptx_app.data.index import LabelledFilm, read_index
from ptx_app.data.split import answered_films, validation_films
from ptx_app.evaluation.document import EvaluationDocument
from ptx_app.evaluation.hard_cases import CASES, harder
from ptx_app.evaluation.known_films import predict_films, prepared_films
from ptx_app.evaluation.manifest_figures import manifest_figures
from ptx_app.evaluation.plots import draw_figures, draw_films
from ptx_app.evaluation.report import markdown
from ptx_app.evaluation.results import evaluate, film_by_film, results_of
from ptx_app.inference.decide import Thresholds
from ptx_app.pipeline import Detector
from ptx_app.process import typed_command


def write_evaluation(
    detector: Detector,
    data: Path,
    output: Path,
    *,
    flip_averaging: bool | None = None,
    hard_films: int = 0,
    pictures: Path | None = None,
    against: Detector | None = None,
    readers: bool = False,
) -> Path:
    """Measure a model on the validation films and write evaluation.md, evaluation.json and figures.

    Args:
        detector: the model.
        data: prepared folder of films.
        output: folder of the report.
        flip_averaging: None for the entry's setting.
        hard_films: number of films to degrade, half of them positive; 0 for none.
        pictures: folder for pictures that show films, or None.
        against: another model to compare with, film by film, or None.
        readers: measure on the answers of readers instead of expert labels.

    Returns:
        Path of the Markdown report.

    Raises:
        SettingsError: as `read_index`, `validation_films` and `answered_films`, or FILM_UNREADABLE.
    """
    if flip_averaging is not None:
        changed = detector.weights.model_copy(update={"flip_averaging": flip_averaging})
        detector = replace(detector, weights=changed)
    weights = detector.weights
    films = answered_films(read_index(data)) if readers else validation_films(read_index(data))
    predicted = predict_films(detector, prepared_films(films), len(films), "films")
    results = results_of(predicted, weights)
    labels = {"labels": "reader" if readers else "expert", "engine": detector.network.engine}
    document: EvaluationDocument = {"command": typed_command()} | labels | evaluate(results, weights)
    document["outlined"] = int((~np.isnan(results.dice)).sum())
    if readers:
        del document["goals"]  # they are for the validation films
    if against is not None:
        others = predict_films(against, prepared_films(films), len(films), against.weights.name)
        document["against"] = film_by_film(results, weights, results_of(others, against.weights), against.weights)
    if hard_films:
        document["hard_cases"] = hard_case_rows(detector, drawn(films, hard_films))
    output.mkdir(parents=True, exist_ok=True)
    figures = draw_figures(results, weights, output)
    if pictures is not None:
        draw_films(list(prepared_films(films)), predicted, results, weights, pictures)
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    (output / "evaluation.json").write_text(text + "\n", encoding="utf-8")
    report = output / "evaluation.md"
    report.write_text(markdown(document, figures), encoding="utf-8")
    return report


def drawn(films: Sequence[LabelledFilm], count: int, seed: int = 1) -> list[LabelledFilm]:
    """About `count` films drawn at random, half of them positive if there are enough."""
    chance = random.Random(seed)  # noqa: S311  (a draw, no secret)
    by_label = [[film for film in films if film.positive is label] for label in (True, False)]
    return [film for own in by_label for film in chance.sample(own, min(len(own), (count + 1) // 2))]


def hard_case_rows(detector: Detector, films: Sequence[LabelledFilm]) -> EvaluationDocument:
    """AUC and mean Dice of unchanged films, and of films in every case and strength of `CASES`."""
    known, weights = list(prepared_films(films)), detector.weights
    rows = []
    for case, strength in _cases():
        changed = known if strength is None else harder(known, case, strength)
        what = case if strength is None else f"{case} {strength:g}"
        predicted = predict_films(detector, changed, len(known), what)
        figures = manifest_figures(predicted, weights.calibration, Thresholds.of(weights.operating_point()))
        kept = {}
        for name in ("auc", "dice_positive"):
            numbers = zip(("value", "low", "high"), (figures[name], *figures[f"{name}_interval"]), strict=True)
            kept[name] = {which: None if np.isnan(number) else number for which, number in numbers}
        rows.append({"case": case, "strength": "" if strength is None else f"{strength:g}"} | kept)
    return {"films": len(known), "positives": sum(film.positive for film in known), "cases": rows}


def _cases() -> Iterator[tuple[str, float | None]]:
    yield "as they are", None
    for case, (strengths, _) in CASES.items():
        for strength in strengths:
            yield case, strength
