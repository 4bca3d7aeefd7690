"""Makes the ONNX file of weights that have none, and checks it against torch. weights/load.py runs this in a child."""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptx_app.errors import WeightsError
from ptx_app.evaluation.metrics import dice
from ptx_app.film import read_film
from ptx_app.film.examples import EXAMPLES
from ptx_app.inference.predict import sigmoid
from ptx_app.inference.prepare import prepare
from ptx_app.model.engine import Engine
from ptx_app.model.manifest import LungFields, OnnxFile, Weights
from ptx_app.model.network import Network, NetworkOutput
from ptx_app.process import begin
from ptx_app.weights.load import network_of_onnx

_SCORE, _DICE = 0.002, 0.995
_MASK_THRESHOLDS = (0.1, 0.3, 0.5)


def export_checked(weights: Weights | LungFields, file: Path, target: Path) -> None:
    """Write the ONNX file of a safetensors file, if it gives torch's results on the example films.

    Raises:
        WeightsError: EXPORT_DIFFERS, or as `export_onnx`.
    """
    from ptx_app.model.export import export_onnx  # imports torch
    from ptx_app.model.torch_network import TorchNetwork

    draft = target.with_name(f"{target.stem}-unchecked.onnx")
    try:
        export_onnx(weights, file, draft)
        onnx = OnnxFile(name="unchecked", bytes=draft.stat().st_size, sha256="0" * 64, sources=())
        exported = network_of_onnx(onnx, draft, next(engine for engine in Engine if engine.installed))
        films = [prepare(example.load(read_film).pixels, weights.input) for example in EXAMPLES]
        require_agreement(TorchNetwork(weights, file), exported, films)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def require_agreement(expected: Network, found: Network, films: list[NDArray[np.float32]]) -> None:
    """Compare two networks on prepared films (channels, S, S) float32, before calibration.

    Scores may differ by 0.002, and the mean Dice of the masks must be at least 0.995, at mask thresholds 0.1, 0.3, 0.5.

    Raises:
        WeightsError: EXPORT_DIFFERS.
    """
    pairs = [(expected(film[np.newaxis]), found(film[np.newaxis])) for film in films]
    score = max(abs(_score(first) - _score(second)) for first, second in pairs)
    overlap = np.mean([_overlap(first, second, threshold) for first, second in pairs for threshold in _MASK_THRESHOLDS])
    if score > _SCORE or overlap < _DICE:
        raise WeightsError(
            "EXPORT_DIFFERS",
            f"The ONNX file does not give torch's results: scores differ by {score:.4f}, "
            f"and the masks' mean Dice is {overlap:.3f}.",
        )


def _score(output: NetworkOutput) -> float:
    return float(sigmoid(output.score_logits)[0])


def _overlap(first: NetworkOutput, second: NetworkOutput, threshold: float) -> float:
    return dice(*(sigmoid(output.mask_logits) >= threshold for output in (first, second)))


def main() -> None:
    """python -m ptx_app.checked_export KIND ENTRY_AS_JSON SAFETENSORS ONNX."""
    begin()
    kind, entry, file, target = sys.argv[1:]
    parsed = Weights.model_validate_json(entry) if kind == "Weights" else LungFields.model_validate_json(entry)
    export_checked(parsed, Path(file), Path(target))


if __name__ == "__main__":
    main()
