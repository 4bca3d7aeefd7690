"""ptx compare: several configurations, one budget, one table."""

import argparse
import sys
from pathlib import Path

from ptx_app.commands.places import add_places, data_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("comparison", type=Path, help="TOML file of a base and its variants")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder of the table (default: docs)")
    add_places(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train and measure; 0 with the table written, 3 where training was stopped and can be taken up again."""
    from ptx_app.experiments.comparison import compare, read_comparison  # torch and albumentations: not for --help

    comparison = read_comparison(arguments.comparison)
    table = compare(comparison, data_folder(arguments), arguments.runs, arguments.output)
    if table is None:
        return 3
    sys.stdout.write(f"{table}\n")
    return 0
