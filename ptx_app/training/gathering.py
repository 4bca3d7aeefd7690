"""The films of a run, with all that other models draw on them, decoded once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from ptx_app.data.index import LabelledFilm
from ptx_app.data.store import FilmStore
from ptx_app.model.manifest import ROOT
from ptx_app.training.configuration import Configuration
from ptx_app.training.dataset import training_films
from ptx_app.training.lung_boxes import lung_boxes
from ptx_app.training.run_folder import RunFolder
from ptx_app.training.teachers import TeacherMaps


@dataclass(frozen=True)
class GatheredFilms:
    """What a run trains on.

    Attributes:
        films, held_out: to train on, and to validate on.
        store: of both.
        teachers: the maps of the films to train on, if the run has teachers.
    """

    films: list[LabelledFilm]
    held_out: list[LabelledFilm]
    store: FilmStore
    teachers: TeacherMaps | None = None


def gather_films(configuration: Configuration, data: Path, runs: Path, also: Sequence[Path] = ()) -> GatheredFilms:
    """Gather the films of a run. What takes long is kept in the cache of `runs`.

    Args:
        configuration: of the run.
        data: prepared folder of films.
        runs: folder of runs.
        also: more prepared folders.

    Raises:
        SettingsError: as `training_films`, `FilmStore` and `TeacherMaps`.
        WeightsError: as `lung_boxes` and `TeacherMaps`.
    """
    cache = runs / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    films, held_out = training_films(configuration, data, also)
    section, fit, teachers = configuration.data, configuration.input.fit, None
    with FileLock(cache / "lock"):  # of several processes one makes the cache, and the others find it made
        boxes = lung_boxes([*films, *held_out], cache) if fit == "lungs" else {}
        store = FilmStore([*films, *held_out], cache, boxes)
        if section.teachers:
            folders = [RunFolder(ROOT / teacher) for teacher in section.teachers]
            teachers = TeacherMaps(folders, films, store, fit, cache, configuration.training.workers)
    return GatheredFilms(films, held_out, store, teachers)
