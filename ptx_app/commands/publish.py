"""ptx publish: thresholds chosen on films held out, figures measured on others, and the entry written."""

import argparse
import sys
from pathlib import Path

from ptx_app.commands.places import add_dicoms, add_places, data_folder, dicom_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run, such as runs/ptx-b3-384")
    parser.add_argument("--state", choices=("best", "last"), default="best", help="which of its weights")
    parser.add_argument(
        "--flip-averaging",
        action=argparse.BooleanOptionalAction,
        help="average a film's answer and its mirror image's (default: as the run's configuration says)",
    )
    parser.add_argument("--default", action="store_true", help="use these weights where none are named")
    parser.add_argument("--draft", type=Path, metavar="FOLDER", help="write weights and manifest there instead")
    add_places(parser)
    add_dicoms(parser)


def run(arguments: argparse.Namespace) -> int:
    """Publish a run and say what was measured."""
    from ptx_app.data.index import read_index  # torch is behind these: not for --help
    from ptx_app.data.split import validation_films
    from ptx_app.experiments.publishing import Places, publish
    from ptx_app.training.run_folder import RunFolder

    folder, data = RunFolder(arguments.run), data_folder(arguments)
    films = read_index(data)
    weights = publish(
        folder,
        folder.held_out(films),
        validation_films(films),
        dicom_folder(arguments),
        Places.draft(arguments.draft) if arguments.draft else Places(),
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
            f"smallest region {point.smallest_region}: sensitivity {point.sensitivity}, specificity {point.specificity}"
        )
    for measured_on, figures in weights.figures.items():
        _say(f"{measured_on} ({figures.films} films): AUC {figures.auc}, Dice on positives {figures.dice_positive}")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
