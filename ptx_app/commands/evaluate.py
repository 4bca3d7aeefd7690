"""ptx evaluate: a model on validation films or readers' answers, as a Markdown report, a JSON file and figures."""

import argparse
import sys
from pathlib import Path

from ptx_app.commands.places import add_places, data_folder
from ptx_app.model.engine import Engine, choose_engine
from ptx_app.model.manifest import MANIFEST_PATH, load_manifest
from ptx_app.pipeline import Detector
from ptx_app.weights.load import load_network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--weights", help="entry of weights_manifest.json, or the file of an entry")
    parser.add_argument("--draft", type=Path, metavar="FOLDER", help="folder that `publish --draft` wrote")
    parser.add_argument(
        "--flip-averaging",
        action=argparse.BooleanOptionalAction,
        help="average the outputs for the film and its mirror image (default: as in the entry)",
    )
    parser.add_argument("--against", metavar="WEIGHTS", help="another entry to compare with, film by film")
    parser.add_argument(
        "--labels",
        choices=("expert", "reader"),
        default="expert",
        help="measure on expert-labelled validation films, or on readers' answers (default: expert)",
    )
    parser.add_argument("--engine", choices=list(Engine), help="what computes the network (default: by the machine)")
    parser.add_argument("--hard-cases", type=int, default=60, metavar="N", help="films to degrade (0: none)")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder of the report (default: docs)")
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="folder for pictures of films with truth and prediction; not for publishing",
    )
    add_places(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and write the report."""
    from ptx_app.evaluation.run import write_evaluation  # slow to import; not for --help

    report = write_evaluation(
        _chosen(arguments),
        data_folder(arguments),
        arguments.output,
        flip_averaging=arguments.flip_averaging,
        hard_films=arguments.hard_cases,
        pictures=arguments.pictures,
        readers=arguments.labels == "reader",
        against=arguments.against and Detector.load(arguments.against, engine=choose_engine(arguments.engine)),
    )
    sys.stdout.write(f"{report}\n")
    return 0


def _chosen(arguments: argparse.Namespace) -> Detector:
    engine = choose_engine(arguments.engine)
    if arguments.draft is None:
        return Detector.load(arguments.weights, engine=engine)
    manifest = load_manifest(arguments.draft / MANIFEST_PATH.name)
    drafts = [entry.name for entry in manifest.weights if (arguments.draft / f"{entry.name}.safetensors").exists()]
    weights = manifest.entry(arguments.weights or next(iter(drafts), None))
    file = arguments.draft / f"{weights.name}.safetensors"
    return Detector.around(weights, load_network(weights, file, engine=engine), engine=engine)
