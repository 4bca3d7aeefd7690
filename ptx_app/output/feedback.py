"""A reader's answer to a result, and answers as a prepared folder: what `ptx train` and `ptx evaluate` read.

Nothing in it identifies reader or patient: films are pixels, named by a hash of them.
"""

import base64
import csv
import hashlib
import io
import os
import shutil
import sys
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptx_app import __version__
from ptx_app.data.index import INDEX_COLUMNS, MaskKind
from ptx_app.data.writing import IndexRow, index_row, index_table, stored_film, stored_mask
from ptx_app.errors import ContourError, SettingsError
from ptx_app.film.radiograph import View, grey_picture
from ptx_app.inference.decide import Finding, Side, Thresholds
from ptx_app.output.setting import SETTING_COLUMNS, Setting

INDEX, ANSWERS = "index.csv", "answers.csv"
ANSWER_COLUMNS = (
    "image_id", "answer", "pneumothorax", "contour", "time", "score", "flagged", *SETTING_COLUMNS, "ptx_app",
)  # fmt: skip
WITHDRAWN = "withdrawn"
_LEAST_FREE = 1 << 28  # bytes on the disk that answers leave to others, such as the audit trail
_SLACK = 1024  # bytes by which deflate may enlarge what it cannot make smaller, generously


class Answer(StrEnum):
    """What a reader says to a result."""

    AGREE = "agree"
    DISAGREE = "disagree"
    CONTOUR = "contour"


@dataclass(frozen=True)
class PackedMask:
    """A mask in little memory: its shape (H, W), and its pixels row by row, 8 in a byte, deflated."""

    shape: tuple[int, int]
    data: bytes

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> "PackedMask":
        """Pack a mask (H, W)."""
        return cls((mask.shape[0], mask.shape[1]), zlib.compress(np.packbits(mask).tobytes(), 1))

    @classmethod
    def received(cls, text: object, shape: tuple[int, int]) -> "PackedMask":
        """The mask of a film of this shape, as the browser sends it: `data` in base64.

        Raises:
            ContourError: CONTOUR_INVALID if it is anything else. No more is unpacked than the film has pixels.
        """
        size = -(-shape[0] * shape[1] // 8)
        try:
            if not isinstance(text, str) or len(text) > 2 * size + _SLACK:
                raise ValueError
            unpacking = zlib.decompressobj()
            bits = unpacking.decompress(base64.b64decode(text, validate=True), size + 1)
            if len(bits) != size or not unpacking.eof:
                raise ValueError
        except (ValueError, zlib.error) as error:
            raise ContourError(
                "CONTOUR_INVALID", "Your contour did not arrive as it was drawn. Draw it again, then press Done."
            ) from error
        return cls.of(_unpacked(bits, shape))

    def mask(self) -> NDArray[np.bool_]:
        """The mask (H, W)."""
        return _unpacked(zlib.decompress(self.data), self.shape)

    def text(self) -> str:
        """The mask as `received` takes it."""
        return base64.b64encode(self.data).decode("ascii")


def _unpacked(bits: bytes, shape: tuple[int, int]) -> NDArray[np.bool_]:
    height, width = shape
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=height * width).reshape(shape).astype(np.bool_)


def _text(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


@dataclass(frozen=True)
class Reading:
    """A reader's answer to the result that was on the screen.

    Attributes:
        answer: agree, disagree, or a contour of the reader's own.
        positive: whether there is a pneumothorax, as the reader says.
        mask: where: the reader's contour, or the model's if the reader agreed; None if there is none or it is unknown.
        score, flagged: the result.
        setting: with what the result was made.
        unseen: whether the reader said so while the result was hidden.
        sides: of a contour of the reader's own, the patient's right first.
        time: of the answer.
    """

    answer: Answer
    positive: bool
    mask: PackedMask | None
    score: float
    flagged: bool
    setting: Setting
    unseen: bool = False
    sides: tuple[Side, ...] = ()
    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def agree(cls, finding: Finding, setting: Setting) -> "Reading":
        """The reader agrees with verdict and contour."""
        mask = PackedMask.of(finding.mask) if finding.mask.any() else None
        return cls(Answer.AGREE, finding.flagged, mask, finding.score, finding.flagged, setting)

    @classmethod
    def disagree(cls, finding: Finding, setting: Setting) -> "Reading":
        """The reader disagrees with the verdict: there is no pneumothorax, or one was missed."""
        return cls(Answer.DISAGREE, not finding.flagged, None, finding.score, finding.flagged, setting)

    @classmethod
    def first(cls, positive: bool, finding: Finding, setting: Setting) -> "Reading":
        """The reader has said whether there is a pneumothorax while the result was hidden: nothing of a contour."""
        answer = Answer.AGREE if positive is finding.flagged else Answer.DISAGREE
        return cls(answer, positive, None, finding.score, finding.flagged, setting, unseen=True)

    @classmethod
    def contour(cls, mask: PackedMask, sides: tuple[Side, ...], finding: Finding, setting: Setting) -> "Reading":
        """The reader has drawn where the pneumothorax is, on these sides; an empty mask says that there is none."""
        drawn = bool(mask.mask().any())
        kept = mask if drawn else None
        return cls(Answer.CONTOUR, drawn, kept, finding.score, finding.flagged, setting, sides=sides)

    @property
    def differs(self) -> bool:
        """Whether the reader's answer differs from the verdict that it is about."""
        return self.positive is not self.flagged

    def is_of_verdict_at(self, thresholds: Thresholds) -> bool:
        """Whether the film has the verdict at these thresholds that the reader has answered."""
        return (self.score >= thresholds.score) is self.flagged

    @property
    def mask_kind(self) -> MaskKind:
        """The kind of this film's mask in an index. Never an expert's."""
        if self.positive and self.mask is None:
            return MaskKind.READER_LABEL
        return MaskKind.READER_AGREED if self.positive and self.answer is Answer.AGREE else MaskKind.READER

    def facts(self) -> dict[str, str]:
        """Answer, label, whose contour it has, time, and the result that it is about; in a fixed order."""
        whose = {MaskKind.READER: "reader", MaskKind.READER_AGREED: "model"}.get(self.mask_kind, "")
        return {
            "answer": str(self.answer),
            "pneumothorax": str(int(self.positive)),
            "contour": whose if self.mask else "",
            "time": _text(self.time),
            "score": f"{self.score:.6f}",
            "flagged": str(int(self.flagged)),
            **self.setting.facts(),
            "ptx_app": __version__,
        }


@dataclass(frozen=True)
class AnsweredFilm:
    """A film with its answer: pixels (H, W) float32 in [0, 1], view position, answer."""

    pixels: NDArray[np.float32]
    view: View
    reading: Reading

    def name(self) -> str:
        """The film's name: a hash of its picture, of 128 bits. The same picture always has the same name."""
        grey = grey_picture(self.pixels)
        return hashlib.sha256(str(grey.shape).encode() + grey.tobytes()).hexdigest()[:32]

    def parts(self) -> tuple[IndexRow, IndexRow, dict[str, bytes]]:
        """Its row of index.csv, its row of answers.csv, and its files by their path in the folder."""
        reading, name = self.reading, self.name()
        masked = reading.mask is not None
        row = index_row(name, positive=reading.positive, masked=masked, kind=reading.mask_kind, view=self.view)
        files = {row["image"]: stored_film(self.pixels)}
        if reading.mask is not None:
            files[row["mask"]] = stored_mask(reading.mask.mask())
        return row | {"split": "train"}, {"image_id": name} | reading.facts(), files


def training_zip(films: Iterable[AnsweredFilm]) -> bytes:
    """A prepared folder as a zip: images, masks, index.csv, and answers.csv with what was answered to which result.

    The last answer to a film counts. No more than one film is unpacked at a time if `films` is a generator.
    """
    target = io.BytesIO()
    rows: dict[str, IndexRow] = {}
    answers: dict[str, IndexRow] = {}
    files: dict[str, bytes] = {}
    for film in films:
        row, answer, own = film.parts()
        name = row["image_id"]
        rows[name], answers[name] = row, answer
        files |= own
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:  # pictures do not get smaller
        for row in rows.values():
            for path in filter(None, (row["image"], row["mask"])):
                archive.writestr(path, files[path])
        archive.writestr(INDEX, index_table(list(rows.values())))
        archive.writestr(ANSWERS, index_table(list(answers.values()), ANSWER_COLUMNS))
    return target.getvalue()


class FeedbackFolder:
    """The operator's folder of answers: a prepared folder that grows.

    index.csv has the last answer to each film, answers.csv every answer in order. Several servers may share it. No file
    is ever seen half written; if the server is killed in between, index.csv still names files that are there.
    """

    _threads = threading.Lock()

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, film: AnsweredFilm) -> None:
        """Add a film, or replace the answer to it. Raises SettingsError FEEDBACK_UNWRITABLE."""
        row, answer, files = film.parts()
        with self._changing() as rows:
            if shutil.disk_usage(self._folder).free < _LEAST_FREE:
                raise OSError("no room")
            for path, content in files.items():
                self._write(path, content)
            rows[row["image_id"]] = row
            self._finish(rows, answer)
            if not row["mask"]:
                self._forget(row["image_id"], "masks")

    def withdraw(self, film: AnsweredFilm) -> None:
        """Take an answer back: the film's files are deleted. Raises SettingsError FEEDBACK_UNWRITABLE."""
        name = film.name()
        with self._changing() as rows:
            rows.pop(name, None)
            taken_back = {"image_id": name, "answer": WITHDRAWN, "time": _text(datetime.now(UTC))}
            self._finish(rows, dict.fromkeys(ANSWER_COLUMNS, "") | taken_back)
            self._forget(name, "masks", "images")

    @contextmanager
    def _changing(self) -> Iterator[dict[str, IndexRow]]:
        """The rows of the index by name, while no other thread or server changes them."""
        try:
            for name in ("images", "masks"):
                (self._folder / name).mkdir(parents=True, exist_ok=True)
            with self._threads, (self._folder / ".lock").open("w") as lock:
                if sys.platform != "win32":
                    import fcntl

                    fcntl.flock(lock, fcntl.LOCK_EX)
                yield {row["image_id"]: row for row in self._rows()}
        except (OSError, ValueError, KeyError, csv.Error) as error:
            raise SettingsError(
                "FEEDBACK_UNWRITABLE",
                "Your answer is kept for this visit, but the server could not save it. Download it with “For "
                "training”, and tell whoever runs this page.",
            ) from error

    def _rows(self) -> list[IndexRow]:
        index = self._folder / INDEX
        if not index.exists():
            return []
        with index.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _finish(self, rows: dict[str, IndexRow], answer: IndexRow) -> None:
        self._write(INDEX, index_table(list(rows.values()), INDEX_COLUMNS))
        answers = self._folder / ANSWERS
        line = index_table([answer], ANSWER_COLUMNS)
        if answers.exists():
            line = answers.read_bytes() + line[line.index(b"\n") + 1 :]
        self._write(ANSWERS, line)

    def _write(self, path: str, content: bytes) -> None:
        target = self._folder / path
        part = target.with_name(f".{target.name}.part")
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)

    def _forget(self, name: str, *folders: str) -> None:
        for folder in folders:
            for path in (self._folder / folder).glob(f"{name}.*"):
                path.unlink(missing_ok=True)
