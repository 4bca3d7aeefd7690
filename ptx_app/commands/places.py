"""Where the films are: arguments shared by the verbs that train and measure."""

import argparse
import os
from pathlib import Path

from ptx_app.errors import SettingsError

_PREPARED = "siim-512"
_DICOMS = "siim-val-dicom"


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add the argument for the prepared folder of films."""
    parser.add_argument("--data", type=Path, help=f"prepared folder of films (default: {_PREPARED} in $PTX_DATA)")


def add_dicoms(parser: argparse.ArgumentParser) -> None:
    """Add the argument for the folder of original validation films."""
    parser.add_argument("--dicoms", type=Path, help=f"validation films as DICOM (default: {_DICOMS} in $PTX_DATA)")


def data_root(named: Path | None) -> Path:
    """The given folder, else PTX_DATA. Raises SettingsError DATA_MISSING if there is neither."""
    if named is not None:
        return named
    if "PTX_DATA" not in os.environ:
        raise SettingsError("DATA_MISSING", "Name the folder of films with --data, or set PTX_DATA.")
    return Path(os.environ["PTX_DATA"])


def data_folder(arguments: argparse.Namespace) -> Path:
    """The prepared folder of films. Raises SettingsError DATA_MISSING if none is given."""
    return Path(arguments.data) if arguments.data is not None else data_root(None) / _PREPARED


def dicom_folder(arguments: argparse.Namespace) -> Path | None:
    """The folder of validation films in the challenge's layout, or None if there is none."""
    if arguments.dicoms is not None:
        return Path(arguments.dicoms)
    folder = Path(os.environ["PTX_DATA"]) / _DICOMS if "PTX_DATA" in os.environ else None
    return folder if folder and folder.is_dir() else None
