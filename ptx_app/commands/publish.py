"""ptx publish: choose thresholds on held-out films, measure on validation films, and write the manifest entry."""

import argparse
import sys
from pathlib import Path

from ptx_app.commands.places import add_dicoms, add_places, data_folder, dicom_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help="folder of the run, such as runs/ptx-b3-384; or its configuration, to choose and measure again what the "
        "manifest has",
    )
    parser.add_argument("--state", choices=("best", "last"), default="best", help="which of the run's weights")
    parser.add_argument(
        "--flip-averaging",
        action=argparse.BooleanOptionalAction,
        help="average the outputs for the film and its mirror image (default: as in the run's configuration)",
    )
    parser.add_argument("--default", action="store_true", help="make these weights the default")
    parser.add_argument("--draft", type=Path, metavar="FOLDER", help="folder to write weights and manifest to instead")
    add_places(parser)
    add_dicoms(parser)


def run(arguments: argparse.Namespace) -> int:
    """Publish a run and print what was measured."""
    from ptx_app.data.index import read_index  # slow to import; not for --help
    from ptx_app.data.split import validation_films
    from ptx_app.experiments.publishing import Places, publish, publish_again
    from ptx_app.training.configuration import read_configuration
    from ptx_app.training.run_folder import RunFolder

    data = data_folder(arguments)
    films, dicoms = validation_films(read_index(data)), dicom_folder(arguments)
    places = Places.draft(arguments.draft) if arguments.draft else Places()
    if arguments.run.is_file():
        weights = publish_again(read_configuration(arguments.run), data, films, dicoms, places)
    else:
        folder = RunFolder(arguments.run)
        weights = publish(
            folder,
            folder.held_out(read_index(data)),
            films,
            dicoms,
            places,
            state=arguments.state,
            flip_averaging=arguments.flip_averaging,
            default=arguments.default,
        )
    _say(f"{weights.name}: {weights.bytes:,} bytes, sha256 {weights.sha256}")
    fitted = weights.calibration
    _say(f"score = sigmoid(logit / {fitted.temperature} + {fitted.mask_weight} * mask's evidence + {fitted.bias})")
    for point in weights.operating_points:
        _say(
            f"{point.name}: score {point.score}, mask threshold {point.mask_threshold}, "
            f"smallest region {point.smallest_region}, surest pixel {point.surest_pixel}, "
            f"smallest beside the largest {point.smallest_relative}: "
            f"sensitivity {point.sensitivity}, specificity {point.specificity}"
        )
    for measured_on, figures in weights.figures.items():
        _say(f"{measured_on} ({figures.films} films): AUC {figures.auc}, Dice on positives {figures.dice_positive}")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
