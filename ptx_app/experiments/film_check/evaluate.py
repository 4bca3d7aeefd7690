"""What the picture check for chest films refuses, rightly and wrongly, and the page of figures."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import binomtest

from ptx_app.errors import FilmError, SettingsError
from ptx_app.experiments.film_check.pictures import Picture
from ptx_app.film import read_film
from ptx_app.film.check.classifier import Appearance, Layers, classify

# How films are laid wrong: name, degrees clockwise, inverted.
_WAYS = (
    ("turned by 90° clockwise", 90, False),
    ("turned by 180°", 180, False),
    ("turned by 90° anticlockwise", 270, False),
    ("inverted", 0, True),
    ("inverted and turned by 180°", 180, True),
)
# Pictures of the DICOM cases that are no frontal film, one of each: where there are several, they show the same.
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
# What a look at the films refused has shown.
_IN_TRUTH = {"6984.1517875202.223625": "in truth a lateral film, which the collection calls frontal"}
_NAMED = 8  # odd ones named in a line of the page

# For each way of splitting: the networks, and which of the other pictures these have not learned from.
Splits = Mapping[str, Sequence[tuple[Layers, Sequence[int]]]]


@dataclass(frozen=True)
class Pictures:
    """Where the pictures lie.

    Attributes:
        films: films to learn from.
        validation: films of the same collections, other patients.
        elsewhere: films of other hospitals, of which others were learned from.
        others: pictures that are no frontal films.
        cases: folder of DICOM files, never learned from.
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
        raise SettingsError("FILM_UNREADABLE", "A picture in the folder of data cannot be read. Prepare it again.")
    return np.asarray(picture, np.float32) / np.float32(255)


def wilson(hits: int, tries: int) -> tuple[float, float]:
    """Wilson's 95 % score interval (1927) of a share, within [0, 1]; (0, 1) of no tries."""
    if not tries:
        return 0.0, 1.0
    low, high = binomtest(hits, tries).proportion_ci(method="wilson")
    return float(low), float(high)


@dataclass(frozen=True)
class Row:
    """One group of pictures: how many were refused and for the right reason, and the odd ones.

    Attributes:
        group: which pictures.
        wanted: whether they should be refused.
        refused, of: how many were, of how many.
        named: how many were refused with the right reason; None where any reason is right.
        odd: names of those that were refused and should not have been, or the other way round.
    """

    group: str
    wanted: bool
    refused: int
    of: int
    named: int | None
    odd: tuple[str, ...]


def measure(layers: Layers, pictures: Pictures, splits: Splits) -> list[Row]:
    """Look at every group of pictures.

    Args:
        layers: the networks to ship, measured on films and DICOM cases.
        pictures: where the pictures lie.
        splits: the networks that measure the other pictures.
    """

    def look(path: Path, turned: int = 0, inverted: bool = False) -> Appearance:
        film = grey_of_file(path)
        return classify(np.rot90(1 - film if inverted else film, -turned // 90), layers)

    films = {path.stem: look(path) for path in pictures.validation}
    elsewhere = {path.stem: look(path) for path in pictures.elsewhere}
    rows = [
        _row("SIIM-ACR validation films", films, wanted=False),
        _row("films of Montgomery, Shenzhen and others, not learned from", elsewhere, wanted=False),
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


def page(rows: Sequence[Row], sha256: str) -> str:
    """The figures as Markdown, for the weights of that hash."""
    lines = [
        "# The picture check for chest films",
        "",
        "Written by `ptx film-check`, which also trains the check. In brackets: Wilson's 95 % interval. Weights:",
        f"sha256 `{sha256[:16]}…`.",
        "",
        "Other pictures are photographs, drawings, CT and MR slices, and radiographs of other parts of the body. Each",
        "was judged by a check that had not been trained on it: in five folds, and with all pictures of its kind left",
        "out. The DICOM cases were never trained on; only their pixels count here, not their headers. The cut-off was",
        "set on training films, each judged by a check trained on the other half. That was done after a check without",
        "it had taken the dental panorama among the DICOM cases for a film.",
        "",
        "| Pictures | Should be | Refused | Share | For the right reason | Not as it should be |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        low, high = wilson(row.refused, row.of)
        share = f"{row.refused / max(row.of, 1):.1%} ({low:.1%} to {high:.1%})"
        named = "" if row.named is None else f"{row.named} of {row.of}"
        odd = ", ".join(row.odd[:_NAMED]) + (f" and {len(row.odd) - _NAMED} more" if len(row.odd) > _NAMED else "")
        wanted = "refused" if row.wanted else "taken"
        lines.append(f"| {row.group} | {wanted} | {row.refused} of {row.of} | {share} | {named} | {odd} |")
    return "\n".join(lines) + "\n"


def _row(
    group: str, seen: Mapping[str, Appearance], wanted: bool, right: Callable[[Appearance], bool] | None = None
) -> Row:
    refused = {name: not _lies(appearance, 0, False) for name, appearance in seen.items()}
    odd = tuple(
        f"{name} ({', '.join(filter(None, (_words(seen[name]), _IN_TRUTH.get(name))))})"
        for name in seen
        if refused[name] != wanted
    )
    named = sum(map(right, seen.values())) if right else None
    return Row(group, wanted, sum(refused.values()), len(seen), named, odd)


def _classify_cases(layers: Layers, folder: Path, names: Sequence[str]) -> dict[str, Appearance]:
    seen = {}
    for name in names:
        with suppress(FilmError):  # refused by the reader, before there is a picture
            seen[name] = classify(read_film((folder / name).read_bytes()).pixels, layers)
    return seen


def _lies(seen: Appearance, turned: int, inverted: bool) -> bool:
    return seen.film and (seen.turned, seen.inverted) == (turned, inverted)


def _is_none(seen: Appearance) -> bool:
    return not seen.film


def _words(seen: Appearance) -> str:
    if not seen.film:
        return "blank" if seen.blank else "no film"
    turned = f"turned by {seen.turned}°" if seen.turned else ""
    return ", ".join(filter(None, (turned, "inverted" if seen.inverted else ""))) or "upright film"
