"""ptx film-check: train the film check and measure it."""

import argparse
from pathlib import Path

from ptx_app.commands.places import data_root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--weights", type=Path, help="file to write (default: the file that the app uses)")
    parser.add_argument("--report", type=Path, default=Path("docs/check.md"), help="report to write (docs/check.md)")
    parser.add_argument(
        "--keep", action="store_true", help="measure the weights that are there; write the report alone"
    )
    parser.add_argument("--data", type=Path, help="folder with siim-512, lungs-384 and not-chest (default: $PTX_DATA)")


def run(arguments: argparse.Namespace) -> int:
    """Train, measure and write."""
    from ptx_app.experiments.film_check.learn import train_and_measure  # slow to import; not for --help
    from ptx_app.film.check.classifier import WEIGHTS_PATH

    train_and_measure(
        data_root(arguments.data), arguments.weights or WEIGHTS_PATH, arguments.report, keep=arguments.keep
    )
    return 0
