"""ptx lung-fields: train the network that outlines the lungs, cross-validate it and publish it."""

import argparse
from pathlib import Path

from ptx_app.commands.places import data_root


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("configuration", type=Path, help="TOML file, such as configs/lung-fields.toml")
    parser.add_argument("--folds", type=int, default=3, help="networks to cross-validate with (default: 3)")
    parser.add_argument("--measured", type=int, help="how many of these to train and measure (default: all)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    parser.add_argument("--report", type=Path, default=Path("docs/lungs.md"), help="report to write (docs/lungs.md)")
    parser.add_argument("--data", type=Path, help="folder with lung masks (default: lungs-384 in $PTX_DATA)")


def run(arguments: argparse.Namespace) -> int:
    """Train, measure, publish; 0 when all is done, 3 if training was stopped and can be resumed."""
    from ptx_app.experiments.lung_fields import Folds, train_and_measure  # slow to import; not for --help
    from ptx_app.training.configuration import read_configuration

    data = arguments.data or data_root(None) / "lungs-384"
    configuration = read_configuration(arguments.configuration)
    folds = Folds(arguments.folds, arguments.measured or arguments.folds)
    done = train_and_measure(configuration, data, arguments.runs, folds, arguments.report)
    return 0 if done else 3
