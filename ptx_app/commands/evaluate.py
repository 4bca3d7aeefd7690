"""ptx evaluate: a model on the validation films, as one Markdown report, one JSON and figures."""

import argparse
import sys
from pathlib import Path

from ptx_app.commands.places import add_places, data_folder
from ptx_app.model.manifest import MANIFEST_PATH, Weights, load_manifest
from ptx_app.weights.fetch import resolve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--weights", help="name of an entry of weights_manifest.json, or a file of one")
    parser.add_argument("--draft", type=Path, metavar="FOLDER", help="folder that `publish --draft` wrote")
    parser.add_argument(
        "--flip-averaging",
        action=argparse.BooleanOptionalAction,
        help="average a film's answer and its mirror image's (default: as the entry says)",
    )
    parser.add_argument("--hard-cases", type=int, default=60, metavar="N", help="films to make harder (0: none)")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder of the report (default: docs)")
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="draw films, truths and predictions there; not for publishing"
    )
    add_places(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and write the report."""
    from ptx_app.evaluation.run import write_evaluation  # torch and matplotlib are behind it: not for --help

    weights, file = _chosen(arguments)
    report = write_evaluation(
        weights,
        file,
        data_folder(arguments),
        arguments.output,
        flip_averaging=arguments.flip_averaging,
        hard_films=arguments.hard_cases,
        pictures=arguments.pictures,
    )
    sys.stdout.write(f"{report}\n")
    return 0


def _chosen(arguments: argparse.Namespace) -> tuple[Weights, Path]:
    if arguments.draft is None:
        return resolve(load_manifest(), arguments.weights)
    manifest = load_manifest(arguments.draft / MANIFEST_PATH.name)
    drafts = [entry.name for entry in manifest.weights if (arguments.draft / f"{entry.name}.safetensors").exists()]
    weights = manifest.entry(arguments.weights or next(iter(drafts), None))
    return weights, arguments.draft / f"{weights.name}.safetensors"
