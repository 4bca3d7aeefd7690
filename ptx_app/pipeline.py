"""The one road of a film: read, check, predict, decide. Page, command line, benchmark and evaluation all take it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptx_app.errors import NotAFilmError
from ptx_app.film import read_film
from ptx_app.film.check.frontal import check
from ptx_app.film.radiograph import FilmNote, Radiograph
from ptx_app.inference.decide import Finding, Thresholds, decide
from ptx_app.inference.predict import Prediction, predict
from ptx_app.inference.prepare import prepare
from ptx_app.model.manifest import Source, Weights, load_manifest
from ptx_app.model.network import Network
from ptx_app.weights.download import Progress
from ptx_app.weights.fetch import resolve

Read = Callable[[bytes], Radiograph]


@dataclass(frozen=True)
class Examination:
    """A film on its way.

    Attributes:
        radiograph: what was read.
        rejections: why it is no frontal chest film that can be judged; empty where it is one.
        prepared: (channels, S, S) float32, the network's input.
        prediction: what the network says; None where the film was rejected, and so not judged.
    """

    radiograph: Radiograph
    rejections: tuple[FilmNote, ...]
    prepared: NDArray[np.float32]
    prediction: Prediction | None


@dataclass(frozen=True)
class Detector:
    """A model ready to look at films.

    Attributes:
        weights: the manifest's entry: input, calibration, operating points.
        network: numpy in, numpy out.
        read: from a file's bytes to a film. The default reads in this process; for files of strangers give
            `SandboxedReader().read`, which reads in a child process under limits.
    """

    weights: Weights
    network: Network
    read: Read = read_film

    @classmethod
    def load(
        cls,
        wanted: str | None = None,
        *,
        given: Sequence[Source] = (),
        progress: Progress | None = None,
        read: Read = read_film,
    ) -> "Detector":
        """The detector of some weights, fetched where they are not at hand.

        Args:
            wanted: name of an entry of the manifest, path of its file, or None for the manifest's default.
            given: further places to get the file from, tried first.
            progress: called with the bytes that have come and the bytes of the whole file.
            read: see the attribute.

        Raises:
            WeightsError: as `resolve` and `TorchNetwork`.
        """
        return cls.of(*resolve(load_manifest(), wanted, given=given, progress=progress), read=read)

    @classmethod
    def of(cls, weights: Weights, path: Path, read: Read = read_film) -> "Detector":
        """The detector of an entry of the manifest whose file lies at `path`. Raises WeightsError as `TorchNetwork`."""
        from ptx_app.model.torch_network import TorchNetwork  # torch takes seconds to import

        return cls(weights, TorchNetwork(weights, path), read)

    def detect(self, data: bytes, thresholds: Thresholds | None = None, *, overrule: bool = False) -> Finding:
        """Whether there is a pneumothorax on the film of a file, and where.

        Args:
            data: the bytes of a DICOM, PNG or JPEG file.
            thresholds: None for those of the default operating point.
            overrule: judge a picture even where the check rejects it.

        Raises:
            FilmError: as `read_film`.
            NotAFilmError: the check rejects the picture; the first rejection's code and sentence.
        """
        examination = self.examine(self.read(data), overrule=overrule)
        return self.decide(required_prediction(examination), examination.radiograph.shape, thresholds)

    def examine(
        self,
        radiograph: Radiograph,
        *,
        overrule: bool = False,
        turn: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> Examination:
        """Check a film, and run it through the network unless the check rejects it.

        Args:
            radiograph: as `read` gives it.
            overrule: run it even where it is rejected.
            turn: held while the network runs.
        """
        rejections = check(radiograph)
        examination = Examination(radiograph, rejections, self.prepare(radiograph.pixels), None)
        return examination if rejections and not overrule else self.judge(examination, turn=turn)

    def judge(
        self, examination: Examination, *, turn: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> Examination:
        """The examination with the network's answer, whatever the check said. `turn` as for `examine`."""
        with turn():
            return replace(examination, prediction=self.predict(examination.prepared))

    def prepare(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's input (channels, S, S) float32 of pixels (H, W) float32 in [0, 1]."""
        return prepare(pixels, self.weights.input)

    def predict(self, prepared: NDArray[np.float32]) -> Prediction:
        """What the network says of a prepared film (channels, S, S) float32."""
        return predict(self.network, prepared, self.weights)

    def decide(self, prediction: Prediction, shape: tuple[int, int], thresholds: Thresholds | None = None) -> Finding:
        """The finding at thresholds, or at the default operating point, for a film of (H, W) px."""
        return decide(prediction, shape, thresholds or Thresholds.of(self.weights.operating_point()))


def required_prediction(examination: Examination) -> Prediction:
    """The prediction of a film. Raises NotAFilmError with the first rejection where there is none."""
    if examination.prediction is None:
        first = examination.rejections[0]
        raise NotAFilmError(first.code, first.message)
    return examination.prediction
