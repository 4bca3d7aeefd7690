"""What a film becomes: its part of a table's row, and the files to write. `ptx predict` and `ptx watch` both use it."""

import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ptx_app.audit import Event, Log
from ptx_app.errors import NotAFilmError, PtxError
from ptx_app.film.radiograph import grey_picture, is_frontal
from ptx_app.film.source import SourceReference
from ptx_app.inference.decide import Finding
from ptx_app.inference.measure import SideMeasure, measure
from ptx_app.output.caption import captioned_overlay
from ptx_app.output.dicom.objects import KINDS, dicom_objects
from ptx_app.output.pictures import encoded, mask_picture
from ptx_app.output.record import finding_json
from ptx_app.output.setting import Setting
from ptx_app.output.table import MASK_ENDING, Row, cell, facts
from ptx_app.pipeline import Detector, Examination, required_prediction
from ptx_app.unexpected import unexpected

OVERLAY, PROBABILITY, RECORD = "_overlay.png", "_probability.npy", "_result.json"
DICOM = {kind: f"_{kind}.dcm" for kind in KINDS}
ENDINGS = (MASK_ENDING, OVERLAY, PROBABILITY, RECORD, *DICOM.values())
_OTHER_FORMATS = ("FORMAT_UNKNOWN", "FORMAT_UNSUPPORTED")


@dataclass(frozen=True)
class Wanted:
    """What to make of every film, and with what.

    Attributes:
        setting: weights, operating point and thresholds.
        overrule: also analyse pictures that the film check rejects.
        probability: write the network's map as float16.
        record: write the result as JSON.
        dicom: write the DICOM objects.
        identified: keep the patient in the DICOM objects of DICOM films.
    """

    setting: Setting
    overrule: bool = False
    probability: bool = False
    record: bool = False
    dicom: bool = False
    identified: bool = False

    def endings(self) -> list[str]:
        """The files that every analysed film gets."""
        extra = [*([PROBABILITY] if self.probability else []), *([RECORD] if self.record else [])]
        dicom = [ending for kind, ending in DICOM.items() if kind != "film" or not self.identified]
        return [MASK_ENDING, OVERLAY, *extra, *(dicom if self.dicom else [])]


@dataclass(frozen=True)
class Result:
    """What a film became.

    Attributes:
        facts: its columns of the table: "status" ("ok", "rejected" or "failed"), "error_code" unless it is "ok", and
            the finding's.
        outputs: the files to write for it, by the endings of their names.
        seconds: how long it took.
        audit_name: the film's name in the audit trail; None if that was not told of it.
    """

    facts: dict[str, object]
    outputs: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0
    audit_name: str | None = None

    @classmethod
    def of_error(cls, error: PtxError, *, named_a_film: bool, seconds: float = 0.0) -> "Result":
        """The result of a file that has no finding. A file that is no film was rejected, unless it is named as one."""
        no_film = isinstance(error, NotAFilmError) or (error.code in _OTHER_FORMATS and not named_a_film)
        return cls({"status": "rejected" if no_film else "failed", "error_code": error.code}, seconds=seconds)


NamedResults = Iterator[tuple[Path, str, Result]]
"""Each file with the stem of its results' names, and what became of it."""


@dataclass(frozen=True)
class ResultMaker:
    """Makes the results of films. Many threads may use it at once; one of them at a time has the network."""

    detector: Detector
    read_source: Callable[[bytes], SourceReference | None]
    wanted: Wanted
    network: Lock = field(default_factory=Lock)

    def make(self, data: bytes, *, named_a_film: bool) -> Result:
        """The result of a file. Never raises: an error is a result, too.

        Args:
            data: the file's bytes.
            named_a_film: whether its name says that it is a film; see `Result.of_error`.
        """
        started = time.perf_counter()
        try:
            examination = self.detector.examine(
                self.detector.read(data), overrule=self.wanted.overrule, turn=lambda: self.network
            )
            finding = self.detector.decide(
                required_prediction(examination), examination.radiograph.shape, self.wanted.setting.thresholds
            )
            film = examination.radiograph
            sizes = measure(finding, examination.lungs, film.spacing, film.field, film.view)
            outputs = self._outputs(data, examination, finding, sizes)
        except Exception as error:  # anything but a PtxError is a bug here or in a decoder
            known = error if isinstance(error, PtxError) else unexpected(error)
            return Result.of_error(known, named_a_film=named_a_film, seconds=time.perf_counter() - started)
        return Result({"status": "ok"} | facts(finding, sizes), outputs, time.perf_counter() - started)

    def _outputs(
        self, data: bytes, examination: Examination, finding: Finding, sizes: Sequence[SideMeasure]
    ) -> dict[str, bytes]:
        wanted, comment = self.wanted, self.wanted.setting.line()
        radiograph = replace(examination.radiograph, rejections=examination.rejections)
        grey, sides = grey_picture(radiograph.pixels), is_frontal(examination.rejections)
        overlay = captioned_overlay(grey, finding, wanted.setting, sides=sides)
        outputs = {
            MASK_ENDING: encoded(mask_picture(finding), comment=comment),
            OVERLAY: encoded(overlay, comment=comment),
        }
        if wanted.probability:
            outputs[PROBABILITY] = _half_precision(required_prediction(examination).over_small(radiograph.shape))
        if wanted.record:
            outputs[RECORD] = finding_json(
                finding,
                wanted.setting,
                view=radiograph.view,
                source_format=radiograph.source_format,
                sizes=sizes,
                warnings=radiograph.warnings,
                overruled=examination.rejections,
            ).encode()
        if wanted.dicom:
            source = self.read_source(data) if wanted.identified else None
            objects = dicom_objects(radiograph, finding, wanted.setting, source)
            outputs |= {DICOM[kind]: content for kind, content in objects.items()}
        return outputs


def row_of(file: str, stem: str, result: Result, setting: Setting) -> Row:
    """A film's row of the table: `file` names the film, `stem` its results."""
    mask = f"{stem}{MASK_ENDING}" if MASK_ENDING in result.outputs else ""
    names = {"file": cell(file), "mask": cell(mask), "seconds": f"{result.seconds:.3f}"}
    return result.facts | setting.facts() | names


_UNANALYSED = {"rejected": "not analysed", "failed": "not read"}


def tell_written(log: Log, result: Result, wanted: Wanted) -> None:
    """Tell the audit trail of a result that is about to be written, if it knows the film. Raises AuditError."""
    if result.audit_name is None:
        return
    thresholds, status, score = wanted.setting.thresholds, str(result.facts["status"]), result.facts.get("score")
    log.tell(
        Event.RESULT_WRITTEN,
        film=result.audit_name,
        result=_UNANALYSED.get(status) or result.facts["grade"],
        code=result.facts.get("error_code"),
        overruled=wanted.overrule or None,
        score=None if score is None else round(float(str(score)), 4),
        score_threshold=thresholds.score,
        mask_threshold=thresholds.mask_threshold,
        files=sorted(ending.removeprefix("_") for ending in result.outputs) or None,
        identified=wanted.identified or None,
    )


def _half_precision(probability: NDArray[np.float32]) -> bytes:
    array = io.BytesIO()
    np.save(array, probability.astype(np.float16))
    return array.getvalue()
