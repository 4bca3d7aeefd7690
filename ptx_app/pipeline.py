"""The path of every film: read, check, predict, decide. Page, command line, benchmark and evaluation all use it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ptx_app.errors import NotAFilmError
from ptx_app.film import read_film
from ptx_app.film.check.frontal import check
from ptx_app.film.radiograph import Box, FilmNote, Radiograph
from ptx_app.inference.decide import Finding, Thresholds, decide
from ptx_app.inference.lungs import Lungs, lung_pair, lung_probability
from ptx_app.inference.predict import Prediction, predict
from ptx_app.inference.prepare import prepare
from ptx_app.model.engine import Engine
from ptx_app.model.manifest import LungFields, Source, Weights, load_manifest
from ptx_app.model.network import Network
from ptx_app.weights.download import Progress
from ptx_app.weights.fetch import select
from ptx_app.weights.load import load_network

Read = Callable[[bytes], Radiograph]


@dataclass(frozen=True)
class Examination:
    """A film after reading and check, and after the network where it ran.

    Attributes:
        radiograph: the film as it was read.
        rejections: why it is not a frontal chest film that can be analysed; empty if it is one.
        prepared: (channels, S, S) float32, the network's input.
        prediction: the network's output; None if the film was rejected and so not analysed.
        lungs: where the lungs are; None if the film was not analysed, or no pair of lungs was found.
    """

    radiograph: Radiograph
    rejections: tuple[FilmNote, ...]
    prepared: NDArray[np.float32]
    prediction: Prediction | None
    lungs: Lungs | None = None


@dataclass(frozen=True)
class LungFinder:
    """The network that outlines the lungs, and its manifest entry."""

    entry: LungFields
    network: Network

    def find(self, pixels: NDArray[np.float32]) -> Lungs | None:
        """The lungs on a film (H, W) float32 in [0, 1], or None if there is no plausible pair."""
        return lung_pair(lung_probability(self.network, pixels, self.entry.input), self.entry.mask_threshold)


@dataclass(frozen=True)
class Detector:
    """A model with everything needed to analyse films.

    Attributes:
        weights: the manifest's entry: input, calibration, operating points.
        network: numpy in, numpy out.
        read: from a file's bytes to a film. The default reads in this process. For files from strangers pass
            `SandboxedReader().read`, which reads in a child process with limits.
        lung_finder: outlines the lungs of analysed films, to measure by; None to leave that out.
    """

    weights: Weights
    network: Network
    read: Read = read_film
    lung_finder: LungFinder | None = None

    @classmethod
    def load(
        cls,
        wanted: str | None = None,
        *,
        given: Sequence[Source] = (),
        progress: Progress | None = None,
        read: Read = read_film,
        engine: Engine | None = None,
        lungs: bool = False,
    ) -> "Detector":
        """Load a detector. Its weights are downloaded if they are not on this machine.

        Args:
            wanted: name of an entry of the manifest, path of its file, or None for the manifest's default.
            given: further sources of the file, tried first.
            progress: called with the bytes received and the bytes of the whole file.
            read: see the attribute.
            engine: None for `choose_engine`'s choice.
            lungs: whether to outline the lungs of each film too, for `measure`. That takes a tenth more time.

        Raises:
            SettingsError: as `choose_engine`.
            WeightsError: as `select` and `load_network`.
        """
        manifest = load_manifest()
        weights, sources = select(manifest, wanted, given)
        network = load_network(weights, given=sources, progress=progress, engine=engine)
        entry = manifest.lung_fields if lungs else None
        finder = LungFinder(entry, load_network(entry, progress=progress, engine=engine)) if entry else None
        return cls(weights, network, read, finder)

    def detect(self, data: bytes, thresholds: Thresholds | None = None, *, overrule: bool = False) -> Finding:
        """Whether there is a pneumothorax on the film in a file, and where.

        Args:
            data: the bytes of a DICOM, PNG or JPEG file.
            thresholds: None for the default operating point's.
            overrule: analyse the picture even if the check rejects it.

        Raises:
            FilmError: as `read_film`.
            NotAFilmError: the check rejects the picture. Has the code and message of the first rejection.
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
            radiograph: as `read` returns it.
            overrule: run the network even if the check rejects the film.
            turn: makes a context manager that is held while the network runs, such as `FairQueue.turn`.
        """
        rejections = check(radiograph)
        examination = Examination(radiograph, rejections, self.prepare(radiograph.film), None)
        return examination if rejections and not overrule else self.judge(examination, turn=turn)

    def judge(
        self, examination: Examination, *, turn: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> Examination:
        """Run the network, even if the check rejected the film. Returns the examination with the output.

        `turn` as in `examine`.
        """
        radiograph = examination.radiograph
        with turn():
            prediction = self.predict(examination.prepared, radiograph.field)
            lungs = self.lung_finder.find(radiograph.film) if self.lung_finder else None
            return replace(examination, prediction=prediction, lungs=lungs)

    def prepare(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's input (channels, S, S) float32 for pixels (H, W) float32 in [0, 1]."""
        return prepare(pixels, self.weights.input)

    def predict(self, prepared: NDArray[np.float32], field: Box | None = None) -> Prediction:
        """The network's output for a prepared film (channels, S, S) float32.

        `field`: the part of the picture that was prepared; None for the whole picture.
        """
        return predict(self.network, prepared, self.weights, field)

    def decide(self, prediction: Prediction, shape: tuple[int, int], thresholds: Thresholds | None = None) -> Finding:
        """The finding for a film of (H, W) px, at the given thresholds or the default operating point."""
        return decide(prediction, shape, thresholds or Thresholds.of(self.weights.operating_point()))


def required_prediction(examination: Examination) -> Prediction:
    """The film's prediction. Raises NotAFilmError with the first rejection if there is none."""
    if examination.prediction is None:
        first = examination.rejections[0]
        raise NotAFilmError(first.code, first.message)
    return examination.prediction
