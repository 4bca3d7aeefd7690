"""Makes the ONNX file of weights that have films to take the ranges of the decoder's 8 bits from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ptx_app.data.index import LabelledFilm
from ptx_app.data.store import as_pixels, read_grey
from ptx_app.model.export import export_onnx
from ptx_app.model.manifest import OnnxFile, Weights
from ptx_app.model.quantization import Ranges, decoder_ranges
from ptx_app.model.torch_network import TorchNetwork
from ptx_app.pipeline import Detector
from ptx_app.weights.add import bundled
from ptx_app.weights.verify import digest

RANGE_FILMS = 48
"""Number of films that the ranges are taken from."""


def with_onnx(weights: Weights, file: Path, films: Sequence[LabelledFilm]) -> Weights:
    """The entry with an ONNX file, written beside the weights' own.

    Args:
        weights: the entry.
        file: its safetensors file.
        films: training films; `RANGE_FILMS` of them are used, positive and negative ones as often as they come.

    Raises:
        SettingsError: FILM_UNREADABLE.
        WeightsError: as `export_onnx` and `Detector.around`.
    """
    path = file.with_suffix(".onnx")
    export_onnx(weights, file, path)
    ordered = sorted(films, key=lambda film: (film.positive, film.image_id))
    spread = ordered[:: max(1, len(ordered) // RANGE_FILMS)]
    detector = Detector.around(weights, TorchNetwork(weights, file))
    prepared = (detector.prepare_film(as_pixels(read_grey(film.image))).square[np.newaxis] for film in spread)
    onnx = onnx_entry(weights.name, path, decoder_ranges(path, prepared))
    return weights.model_copy(update={"onnx": onnx})


def onnx_entry(name: str, path: Path, ranges: Ranges) -> OnnxFile:
    """The manifest's record of an ONNX file that will be bundled under the name of its weights."""
    return OnnxFile(
        name=f"{name}.onnx",
        bytes=path.stat().st_size,
        sha256=digest(path),
        sources=(bundled(f"{name}.onnx"),),
        decoder_ranges=dict(ranges),
    )
