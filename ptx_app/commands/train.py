"""ptx train: start a run, or resume it. On several processes: torchrun --nproc-per-node N -m ptx_app train ..."""

import argparse
import sys
from pathlib import Path

from ptx_app.commands.places import add_places, data_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("configuration", type=Path, help="TOML file of the run, such as configs/default.toml")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    parser.add_argument("--minutes", type=_minutes, help="time limit in minutes; the schedule is shortened to fit")
    parser.add_argument(
        "--also",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="another prepared folder to train on, such as readers' answers; may be given more than once",
    )
    add_places(parser)


def _minutes(text: str) -> float:
    minutes = float(text)
    if minutes <= 0:
        raise argparse.ArgumentTypeError("the time limit must be above 0")
    return minutes


def run(arguments: argparse.Namespace) -> int:
    """Train. Returns 0 at the end of the schedule, 3 if the run was stopped and can be resumed."""
    from ptx_app.training.allocator import start_over
    from ptx_app.training.configuration import read_configuration  # slow to import; not for --help
    from ptx_app.training.gathering import gather_films
    from ptx_app.training.loop import TrainingRun
    from ptx_app.training.plots import draw_curves
    from ptx_app.training.processes import Processes

    configuration = read_configuration(arguments.configuration)
    gather_films(configuration, data_folder(arguments), arguments.runs, arguments.also)
    if arguments.own_process:
        start_over(sys.argv[1:])
    with Processes.joined() as processes:
        training = TrainingRun.of(
            configuration, data_folder(arguments), arguments.runs, arguments.also, processes=processes
        )
        ended = training.train(arguments.minutes)
        if processes.first:
            draw_curves(training.folder)
    return 0 if ended else 3
