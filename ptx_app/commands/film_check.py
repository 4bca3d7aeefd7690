"""ptx film-check: train the picture check for chest films, and measure it."""

import argparse
from pathlib import Path

from ptx_app.commands.places import data_root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--weights", type=Path, help="file to write (default: the app's own)")
    parser.add_argument("--report", type=Path, default=Path("docs/check.md"), help="page to write (docs/check.md)")
    parser.add_argument("--data", type=Path, help="folder of siim-512, lungs-384 and not-chest (default: $PTX_DATA)")


def run(arguments: argparse.Namespace) -> int:
    """Train, measure and write."""
    from ptx_app.experiments.film_check.learn import train_and_measure  # scikit-learn is behind it: not for --help
    from ptx_app.film.check.classifier import WEIGHTS_PATH

    train_and_measure(data_root(arguments.data), arguments.weights or WEIGHTS_PATH, arguments.report)
    return 0
