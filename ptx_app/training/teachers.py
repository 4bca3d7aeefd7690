"""Maps drawn by teachers, runs trained before, for a student to learn from.

Knowledge distillation (Hinton et al., Distilling the Knowledge in a Neural Network, 2015) by the teachers' mean map.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ptx_app.data.index import LabelledFilm
from ptx_app.data.store import FilmStore, Picture, as_pixels, stored
from ptx_app.errors import SettingsError
from ptx_app.inference.prepare import prepare
from ptx_app.model.manifest import InputSpec
from ptx_app.model.torch_network import build_module, choose_device
from ptx_app.training.run_folder import RunFolder
from ptx_app.training.starting_weights import load_exactly, read_state

_BATCH = 16


class TeacherMaps:
    """The mean of the teachers' maps of a run's positive films. Each teacher sees each film once, and its mirror image.

    Negative films have none: it is known that there is nothing on them.
    """

    def __init__(
        self,
        teachers: Sequence[RunFolder],
        films: Sequence[LabelledFilm],
        store: FilmStore,
        fit: str,
        cache: Path,
        workers: int = 0,
    ) -> None:
        """Draw the maps, unless they are in the cache.

        Args:
            teachers: finished runs; their last weights draw.
            films: of the student's run.
            store: of the films.
            fit: the student's, as in `InputSpec`.
            cache: folder of the maps.
            workers: processes that load films.

        Raises:
            SettingsError: RUN_UNFINISHED, TEACHER_FITS_OTHERWISE.
            WeightsError: as `build_module` and `load_exactly`.
        """
        positives = sorted((film for film in films if film.positive), key=lambda film: film.image_id)
        self._row = {film.image_id: row for row, film in enumerate(positives)}
        self._maps = [_maps(teacher, positives, store, fit, cache, workers) for teacher in teachers]

    def of(self, film: LabelledFilm, shape: tuple[int, int]) -> Picture:
        """A positive film's map at the size `shape` that the store has it in: (H, W) uint8, 255 = certainly air."""
        row, (height, width) = self._row[film.image_id], shape
        drawn = [maps[row, :height, :width].astype(np.float32) for maps in self._maps]
        return np.asarray(np.mean(drawn, axis=0).round(), np.uint8)


def _maps(
    teacher: RunFolder, films: Sequence[LabelledFilm], store: FilmStore, fit: str, cache: Path, workers: int
) -> Picture:
    """(n, 512, 512) uint8; each film's map is in the upper left corner, at the size of the film in the store."""
    file = teacher.weights_path("last")
    if not file.exists():
        raise SettingsError("RUN_UNFINISHED", f"{teacher.path.name} has no weights yet. Train this teacher first.")
    configuration = teacher.configuration()
    spec = configuration.input.spec()
    if spec.fit != fit:
        raise SettingsError(
            "TEACHER_FITS_OTHERWISE",
            f"The teacher {teacher.path.name} has input.fit = {spec.fit!r}, and its student {fit!r}. Make them equal.",
        )
    sizes = json.dumps([(film.image_id, *store.shape(film)) for film in films]).encode()
    name = hashlib.sha256(file.read_bytes() + sizes).hexdigest()[:16]

    def maps() -> Iterator[Picture]:
        device = choose_device()
        module = build_module(configuration.network.spec(), None)
        load_exactly(module, read_state(file))
        module = module.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        loader = DataLoader(_Inputs(films, store, spec), batch_size=_BATCH, num_workers=workers)
        drawn = _draw(module, loader, device)
        for film in tqdm(films, f"maps of {teacher.path.name}", unit="film"):
            height, width = store.shape(film)
            spread = cv2.resize(next(drawn), (width, height), interpolation=cv2.INTER_LINEAR)
            yield (spread * 255).round().astype(np.uint8)

    return stored(cache / f"{name}.maps.npy", len(films), maps)


class _Inputs(Dataset[torch.Tensor]):
    """Films as the network is shown them, unchanged."""

    def __init__(self, films: Sequence[LabelledFilm], store: FilmStore, spec: InputSpec) -> None:
        self._films, self._store, self._spec = films, store, spec

    def __len__(self) -> int:
        return len(self._films)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(prepare(as_pixels(self._store.film(self._films[index])), self._spec))


def _draw(
    module: torch.nn.Module, batches: DataLoader[torch.Tensor], device: torch.device
) -> Iterator[NDArray[np.float32]]:
    """The probability map (side, side) of each film, the mean of the film's and its mirror image's."""
    for batch in batches:
        films = batch.to(device, memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            plain, mirrored = (module(part)[0].float().sigmoid()[:, 0] for part in (films, films.flip(-1)))
        yield from ((plain + mirrored.flip(-1)) / 2).cpu().numpy()
