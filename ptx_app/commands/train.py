"""ptx train: one run of a configuration, or the rest of it."""

import argparse
from pathlib import Path

from ptx_app.commands.places import add_places, data_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("configuration", type=Path, help="TOML file of the run, such as configs/default.toml")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    parser.add_argument("--minutes", type=_minutes, help="finish the schedule in so many minutes at the latest")
    add_places(parser)


def _minutes(text: str) -> float:
    minutes = float(text)
    if minutes <= 0:
        raise argparse.ArgumentTypeError("there must be some time to train in")
    return minutes


def run(arguments: argparse.Namespace) -> int:
    """Train; 0 at the schedule's end, 3 where the run was stopped and can be taken up again."""
    from ptx_app.training.configuration import read_configuration  # torch and albumentations: not for --help
    from ptx_app.training.loop import TrainingRun
    from ptx_app.training.plots import draw_curves

    configuration = read_configuration(arguments.configuration)
    training = TrainingRun.of(configuration, data_folder(arguments), arguments.runs)
    ended = training.train(arguments.minutes)
    draw_curves(training.folder)
    return 0 if ended else 3
