"""ptx prepare: make a folder for training and evaluation from DICOM films and a table of run lengths."""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("films", type=Path, help="folder with the challenge's files UID.dcm, searched recursively")
    parser.add_argument("table", type=Path, help="table of their run lengths, such as train-rle.csv")
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument("--patients", type=Path, metavar="CSV", help="table with the columns uid and patient")
    parser.add_argument("--validation", type=float, default=0.1, help="share of films for validation (default: 0.1)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the split (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    """Prepare the folder and print how many films were prepared and left out."""
    from ptx_app.data.preparation import prepare_folder

    done = prepare_folder(
        arguments.films,
        arguments.table,
        arguments.output,
        patients=arguments.patients,
        validation=arguments.validation,
        seed=arguments.seed,
    )
    sys.stdout.write(f"{done.films} films prepared, {done.positives} of them positive\n")
    for code, count in done.left_out.items():
        sys.stdout.write(f"left out: {count} ({code})\n")
    return 0 if done.films else 1
