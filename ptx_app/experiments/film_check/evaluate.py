"""What the film check rejects, rightly and wrongly, and the report about it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from ptx_app.errors import FilmError, SettingsError
from ptx_app.evaluation.metrics import wilson
from ptx_app.experiments.film_check.pictures import Picture
from ptx_app.film import read_film
from ptx_app.film.check.classifier import Appearance, Layers, classify
from ptx_app.process import typed_command

# Wrong orientations of films: name, degrees clockwise, inverted.
_WAYS = (
    ("turned by 90° clockwise", 90, False),
    ("turned by 180°", 180, False),
    ("turned by 90° anticlockwise", 270, False),
    ("inverted", 0, True),
    ("inverted and turned by 180°", 180, True),
)
# DICOM cases that are not frontal films. Of several cases with the same picture, only one is listed.
_NO_FILMS = (
    "bad_sequence.dcm",
    "modality_lut_sequence.dcm",
    "overlay.dcm",
    "palette.dcm",
    "reject_dental_modlut_mono1.dcm",
    "reject_hip_cr_jpegextended_malformed12bit",
    "reject_mammo_cc.dcm",
    "reject_mr_shoulder_jls.dcm",
    "reject_nm_wholebody_j2k.dcm",
    "reject_tibia_cr_j2k_lossy.dcm",
    "reject_us_echo_ybr_ict.dcm",
    "reject_xa_angio.dcm",
    "rgb.dcm",
    "ts_explicit_le.dcm",
    "ts_htj2k_201.dcm",
)
_TURNED_CASE = "trap_rotated90_clockwise.dcm"
# Found by looking at the rejected films.
_IN_TRUTH = {"6984.1517875202.223625": "in fact a lateral film that the collection calls frontal"}
_NAMED = 8  # most exceptions listed in a row of the report

# For each way of splitting: the networks, and the other pictures that they were not trained on.
Splits = Mapping[str, Sequence[tuple[Layers, Sequence[int]]]]


@dataclass(frozen=True)
class Pictures:
    """Where the pictures are.

    Attributes:
        films: films to train on.
        validation: films of the same collections, other patients.
        elsewhere: films of other hospitals that were not trained on, though others of these hospitals were.
        others: pictures that are not frontal films.
        cases: folder of DICOM files, never trained on.
    """

    films: Sequence[Path]
    validation: Sequence[Path]
    elsewhere: Sequence[Path]
    others: Sequence[Path]
    cases: Path


def grey_of_file(path: Path) -> Picture:
    """A picture file as (H, W) float32 in [0, 1]. Raises SettingsError FILM_UNREADABLE."""
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise SettingsError("FILM_UNREADABLE", "A picture in the data folder cannot be read. Replace it.")
    return np.asarray(picture, np.float32) / np.float32(255)


@dataclass(frozen=True)
class CheckRow:
    """One group of pictures: how many were rejected, how many for the right reason, and the exceptions.

    Attributes:
        group: which pictures.
        wanted: whether they should be rejected.
        rejected, of: number rejected, and size of the group.
        named: number rejected for the right reason; None if any reason is right.
        odd: names of those wrongly rejected or wrongly accepted.
    """

    group: str
    wanted: bool
    rejected: int
    of: int
    named: int | None
    odd: tuple[str, ...]


def measure_check(layers: Layers, pictures: Pictures, splits: Splits) -> list[CheckRow]:
    """Run the film check on every group of pictures.

    Args:
        layers: the networks to ship, measured on films and DICOM cases.
        pictures: where the pictures are.
        splits: the networks for measuring on the other pictures.
    """

    def look(path: Path, turned: int = 0, inverted: bool = False) -> Appearance:
        film = grey_of_file(path)
        return classify(np.rot90(1 - film if inverted else film, -turned // 90), layers)

    films = {path.stem: look(path) for path in pictures.validation}
    elsewhere = {path.stem: look(path) for path in pictures.elsewhere}
    rows = [
        _row("SIIM-ACR validation films", films, wanted=False),
        _row("films of Montgomery, Shenzhen and others, not trained on", elsewhere, wanted=False),
    ]
    for way, turned, inverted in _WAYS:
        laid = {path.stem: look(path, turned, inverted) for path in pictures.validation}
        right = partial(_lies, turned=turned, inverted=inverted)
        rows.append(_row(f"SIIM-ACR validation films {way}", laid, wanted=True, right=right))
    for split, folds in splits.items():
        others = [(pictures.others[index], own) for own, unseen in folds for index in unseen]
        seen = {path.stem: classify(grey_of_file(path), own) for path, own in others}
        rows.append(_row(f"other pictures, {split}", seen, wanted=True, right=_is_none))
    films_in_dicom = sorted(path.name for path in pictures.cases.glob("chest_*"))
    rows.append(
        _row("DICOM cases that are films", _classify_cases(layers, pictures.cases, films_in_dicom), wanted=False)
    )
    rows.append(
        _row(
            "DICOM cases of other things",
            _classify_cases(layers, pictures.cases, _NO_FILMS),
            wanted=True,
            right=_is_none,
        )
    )
    turned_case = _classify_cases(layers, pictures.cases, [_TURNED_CASE])
    right = partial(_lies, turned=90, inverted=False)
    rows.append(_row("DICOM case that lies 90° clockwise", turned_case, wanted=True, right=right))
    return rows


def check_page(rows: Sequence[CheckRow], sha256: str) -> str:
    """The figures as Markdown, for the weights of that hash."""
    lines = [
        "# The film check",
        "",
        f"Written by `{typed_command()}`: without `--keep` it trains the film check first.",
        f"In brackets: Wilson's 95 % interval. Weights: sha256 `{sha256[:16]}…`.",
        "",
        "Other pictures are photographs, drawings, CT and MR slices, and radiographs of other parts of the body. Each",
        "was tested with a check that had not been trained on it: in five folds, and with all pictures of its kind",
        "left out. The DICOM cases were never trained on. Only their pixels are tested here, not their headers. The",
        "cut-off was set on training films, each tested with a check trained on the other half. It was introduced",
        "after a check without it had accepted the dental panorama among the DICOM cases.",
        "",
        "| Pictures | Should be | Rejected | Share | For the right reason | Exceptions |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        low, high = wilson(row.rejected, row.of)
        share = f"{row.rejected / max(row.of, 1):.1%} ({low:.1%} to {high:.1%})"
        named = "" if row.named is None else f"{row.named} of {row.of}"
        odd = ", ".join(row.odd[:_NAMED]) + (f" and {len(row.odd) - _NAMED} more" if len(row.odd) > _NAMED else "")
        wanted = "rejected" if row.wanted else "accepted"
        lines.append(f"| {row.group} | {wanted} | {row.rejected} of {row.of} | {share} | {named} | {odd} |")
    return "\n".join(lines) + "\n"


def _row(
    group: str, seen: Mapping[str, Appearance], wanted: bool, right: Callable[[Appearance], bool] | None = None
) -> CheckRow:
    rejected = {name: not _lies(appearance, 0, False) for name, appearance in seen.items()}
    odd = tuple(
        f"{name} ({', '.join(filter(None, (_words(seen[name]), _IN_TRUTH.get(name))))})"
        for name in seen
        if rejected[name] != wanted
    )
    named = sum(map(right, seen.values())) if right else None
    return CheckRow(group, wanted, sum(rejected.values()), len(seen), named, odd)


def _classify_cases(layers: Layers, folder: Path, names: Sequence[str]) -> dict[str, Appearance]:
    seen = {}
    for name in names:
        with suppress(FilmError):  # rejected by the reader, before there is a picture
            seen[name] = classify(read_film((folder / name).read_bytes()).pixels, layers)
    return seen


def _lies(seen: Appearance, turned: int, inverted: bool) -> bool:
    return seen.film and (seen.turned, seen.inverted) == (turned, inverted)


def _is_none(seen: Appearance) -> bool:
    return not seen.film


def _words(seen: Appearance) -> str:
    if not seen.film:
        return "blank" if seen.blank else "not a film"
    turned = f"turned by {seen.turned}°" if seen.turned else ""
    return ", ".join(filter(None, (turned, "inverted" if seen.inverted else ""))) or "upright film"
