"""Where films lie: what the verbs that train and measure ask alike."""

import argparse
import os
from pathlib import Path

from ptx_app.errors import SettingsError

_PREPARED = "siim-512"
_DICOMS = "siim-val-dicom"


def add_places(parser: argparse.ArgumentParser) -> None:
    """The argument that names the prepared folder of films."""
    parser.add_argument("--data", type=Path, help=f"prepared folder of films (default: {_PREPARED} in $PTX_DATA)")


def add_dicoms(parser: argparse.ArgumentParser) -> None:
    """The argument that names the folder of validation films as they came."""
    parser.add_argument("--dicoms", type=Path, help=f"validation films as they came (default: {_DICOMS} in $PTX_DATA)")


def data_root(named: Path | None) -> Path:
    """The folder that was named, else PTX_DATA. Raises SettingsError DATA_MISSING where there is neither."""
    if named is not None:
        return named
    if "PTX_DATA" not in os.environ:
        raise SettingsError("DATA_MISSING", "Name the folder of films with --data, or set PTX_DATA.")
    return Path(os.environ["PTX_DATA"])


def data_folder(arguments: argparse.Namespace) -> Path:
    """The prepared folder that was named. Raises SettingsError DATA_MISSING where none was."""
    return Path(arguments.data) if arguments.data is not None else data_root(None) / _PREPARED


def dicom_folder(arguments: argparse.Namespace) -> Path | None:
    """The validation films in the challenge's own layout, or None where there are none."""
    if arguments.dicoms is not None:
        return Path(arguments.dicoms)
    folder = Path(os.environ["PTX_DATA"]) / _DICOMS if "PTX_DATA" in os.environ else None
    return folder if folder and folder.is_dir() else None
