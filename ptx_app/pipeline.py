"""The path of every film: read, check, predict, decide. Page, command line, benchmark and evaluation all use it."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ptx_app.errors import NotAFilmError, WeightsError
from ptx_app.film import read_film
from ptx_app.film.check.frontal import check
from ptx_app.film.radiograph import Box, FilmNote, Radiograph, is_frontal
from ptx_app.inference.decide import Finding, Thresholds, decide
from ptx_app.inference.lungs import Lungs, lung_box, lung_pair, lung_probability
from ptx_app.inference.predict import Prediction, predict
from ptx_app.inference.prepare import NetworkInput, prepare
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
        prediction: the network's output; None if the film was rejected and so not analysed.
        lungs: where the lungs are; None if the film was not analysed, or no pair of lungs was found.
    """

    radiograph: Radiograph
    rejections: tuple[FilmNote, ...]
    prediction: Prediction | None = None
    lungs: Lungs | None = None


def lung_fields() -> LungFields:
    """The manifest's entry of the network that outlines lungs. Raises WeightsError LUNGS_MISSING if it has none."""
    entry = load_manifest().lung_fields
    if entry is None:
        raise WeightsError(
            "LUNGS_MISSING", "The manifest has no network that outlines lungs. Make one with `ptx lung-fields`."
        )
    return entry


@dataclass(frozen=True)
class LungFinder:
    """The network that outlines the lungs, and its manifest entry."""

    entry: LungFields
    network: Network

    @classmethod
    def load(cls, *, progress: Progress | None = None, engine: Engine | None = None) -> "LungFinder":
        """The manifest's own. Raises WeightsError as `lung_fields` and `load_network`."""
        entry = lung_fields()
        return cls(entry, load_network(entry, progress=progress, engine=engine))

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
        lung_finder: outlines the lungs of analysed films, to crop or to measure by. Without one, nothing is measured
            by lungs, and weights whose input is cropped to the lungs cannot be used.
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
            lungs: whether to outline the lungs of each film too, for `measure`, where the weights do not need them
                anyway. That takes a tenth more time.

        Raises:
            SettingsError: as `choose_engine`.
            WeightsError: as `select` and `load_network`.
        """
        manifest = load_manifest()
        weights, sources = select(manifest, wanted, given)
        network = load_network(weights, given=sources, progress=progress, engine=engine)
        wants_lungs = weights.input.fit == "lungs" or (lungs and manifest.lung_fields is not None)
        finder = LungFinder.load(progress=progress, engine=engine) if wants_lungs else None
        return cls(weights, network, read, finder)

    @classmethod
    def around(cls, weights: Weights, network: Network, *, engine: Engine | None = None) -> "Detector":
        """A detector of a network at hand, with what outlines the lungs if its input is cropped to them.

        Raises:
            WeightsError: as `LungFinder.load`.
        """
        finder = LungFinder.load(engine=engine) if weights.input.fit == "lungs" else None
        return cls(weights, network, lung_finder=finder)

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
        examination = Examination(radiograph, rejections)
        return examination if rejections and not overrule else self.judge(examination, turn=turn)

    def judge(
        self, examination: Examination, *, turn: Callable[[], AbstractContextManager[object]] = nullcontext
    ) -> Examination:
        """Run the network, even if the check rejected the film. Returns the examination with the output.

        `turn` as in `examine`.
        """
        radiograph = examination.radiograph
        with turn():
            lungs = self.find_lungs(radiograph.film)
            prediction = self.predict(self.prepare(radiograph.pixels, radiograph.field, lungs))
            prediction = replace(prediction, frontal=is_frontal(examination.rejections))
            return replace(examination, prediction=prediction, lungs=lungs)

    def find_lungs(self, film: NDArray[np.float32]) -> Lungs | None:
        """The lungs on a film (H, W) float32 in [0, 1]; None if there is no plausible pair, or nothing to find them."""
        return self.lung_finder.find(film) if self.lung_finder else None

    def prepare(
        self, pixels: NDArray[np.float32], field: Box | None = None, lungs: Lungs | None = None
    ) -> NetworkInput:
        """The network's input.

        Args:
            pixels: (H, W) float32 in [0, 1].
            field: the film's part of the picture; None for all of it.
            lungs: on the film, from `find_lungs`. The input shows them alone if the weights ask for that.
        """
        film = field or Box(0, 0, *pixels.shape)
        if self.weights.input.fit == "stretch" or lungs is None:
            return NetworkInput(prepare(film.of(pixels), self.weights.input), field=field)
        box = lung_box(lungs, (film.height, film.width))
        shown = Box(film.top + box.top, film.left + box.left, film.top + box.bottom, film.left + box.right)
        return NetworkInput(prepare(shown.of(pixels), self.weights.input), shown, field)

    def predict(self, prepared: NetworkInput) -> Prediction:
        """The network's output for a prepared film."""
        return predict(self.network, prepared, self.weights)

    def prepare_film(self, pixels: NDArray[np.float32], field: Box | None = None) -> NetworkInput:
        """The network's input for a picture (H, W) float32 in [0, 1]; `field` as in `prepare`."""
        return self.prepare(pixels, field, self.find_lungs(field.of(pixels) if field else pixels))

    def predict_film(
        self, pixels: NDArray[np.float32], shape: tuple[int, int] | None = None, field: Box | None = None
    ) -> Prediction:
        """The network's output for a picture, as `judge` has it, without the film check.

        Args:
            pixels: (H, W) float32 in [0, 1].
            shape: size of the picture that results will be drawn on, if it is not this one's.
            field: the film's part of the picture; None for all of it.
        """
        prediction = self.predict(self.prepare_film(pixels, field))
        height, width = shape or pixels.shape
        return prediction.scaled(height / pixels.shape[0], width / pixels.shape[1])

    def decide(self, prediction: Prediction, shape: tuple[int, int], thresholds: Thresholds | None = None) -> Finding:
        """The finding for a film of (H, W) px, at the given thresholds or the default operating point."""
        return decide(prediction, shape, thresholds or Thresholds.of(self.weights.operating_point()))


def required_prediction(examination: Examination) -> Prediction:
    """The film's prediction. Raises NotAFilmError with the first rejection if there is none."""
    if examination.prediction is None:
        first = examination.rejections[0]
        raise NotAFilmError(first.code, first.message)
    return examination.prediction
