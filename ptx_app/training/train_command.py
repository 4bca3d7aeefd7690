"""`train`: one run of a configuration, or the rest of it."""

import argparse
import os
from pathlib import Path

from ptx_app.errors import SettingsError
from ptx_app.training.catalogue import LabelledFilm, hold_out, read_catalogue
from ptx_app.training.configuration import Configuration, read_configuration
from ptx_app.training.film_store import FilmStore
from ptx_app.training.loop import TrainingRun
from ptx_app.training.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `train`."""
    parser.add_argument("configuration", type=Path, help="TOML file of the run, such as configs/default.toml")
    add_folders(parser)
    parser.add_argument("--minutes", type=float, help="finish the schedule in so many minutes at the latest")


def add_folders(parser: argparse.ArgumentParser) -> None:
    """The arguments that say where films, runs and decoded films lie."""
    parser.add_argument("--data", type=Path, help="prepared folder of films (default: siim-512 in $PTX_DATA)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")


def data_folder(arguments: argparse.Namespace) -> Path:
    """The prepared folder that was named. Raises SettingsError DATA_MISSING where none was."""
    if arguments.data is not None:
        return Path(arguments.data)
    if "PTX_DATA" not in os.environ:
        raise SettingsError("DATA_MISSING", "Name the folder of films with --data, or set PTX_DATA.")
    return Path(os.environ["PTX_DATA"]) / "siim-512"


def training_films(configuration: Configuration, data: Path) -> tuple[list[LabelledFilm], list[LabelledFilm]]:
    """The films that a configuration trains on and those that it holds out, the latter in a fixed order."""
    section = configuration.data
    films = [film for film in read_catalogue(data) if film.split == "train"]
    return hold_out(films, section.held_out_positives, section.held_out_negatives, section.split_seed)


def run(arguments: argparse.Namespace) -> int:
    """Train; 0 at the schedule's end, 3 where the run was stopped and can be taken up again."""
    configuration = read_configuration(arguments.configuration)
    films, held_out = training_films(configuration, data_folder(arguments))
    store = FilmStore([*films, *held_out], arguments.runs / "cache")
    folder = RunFolder(arguments.runs / configuration.name)
    return 0 if TrainingRun(configuration, folder, films, held_out, store).train(arguments.minutes) else 3
