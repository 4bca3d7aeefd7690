"""ptx prepare: DICOM films and a table of run lengths become a folder to train and measure on."""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("films", type=Path, help="folder with the challenge's files UID.dcm, at any depth")
    parser.add_argument("table", type=Path, help="their run lengths, such as train-rle.csv")
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument("--patients", type=Path, metavar="CSV", help="whose films they are: columns uid, patient")
    parser.add_argument("--validation", type=float, default=0.1, help="share of films for validation (default: 0.1)")
    parser.add_argument("--seed", type=int, default=1, help="of the split (default: 1)")


def run(arguments: argparse.Namespace) -> int:
    """Prepare, and say what became of the files."""
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
