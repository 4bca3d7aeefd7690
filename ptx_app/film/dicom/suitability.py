"""Does a DICOM header describe a frontal chest film, and what else in it should the user know?"""

import re
import unicodedata

from pydicom.dataset import Dataset
from pydicom.uid import UID

from ptx_app.film.dicom.header import code, text, texts
from ptx_app.film.radiograph import FilmNote, View

# DR is not a term of the standard, but many devices write it.
FILM_MODALITIES = ("CR", "DX", "RG", "DR")
_MODALITIES = {
    "BMD": "bone densitometry",
    "CT": "computed tomography",
    "DOC": "document",
    "ECG": "electrocardiography",
    "ES": "endoscopy",
    "GM": "microscopy",
    "IO": "intra-oral radiography",
    "IVUS": "intravascular ultrasound",
    "KO": "key object selection",
    "MG": "mammography",
    "MR": "magnetic resonance",
    "NM": "nuclear medicine",
    "OCT": "optical coherence tomography",
    "OP": "ophthalmic photography",
    "OPT": "ophthalmic tomography",
    "OT": "other",
    "PR": "presentation state",
    "PT": "positron emission tomography",
    "PX": "panoramic dental radiography",
    "RF": "fluoroscopy",
    "RTDOSE": "radiotherapy dose",
    "RTIMAGE": "radiotherapy image",
    "RTPLAN": "radiotherapy plan",
    "RTSTRUCT": "radiotherapy structure set",
    "SEG": "segmentation",
    "SM": "slide microscopy",
    "SR": "structured report",
    "US": "ultrasound",
    "XA": "angiography",
    "XC": "photography",
}
_FILM_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.1",  # computed radiography
        "1.2.840.10008.5.1.4.1.1.1.1",  # digital X-ray, for presentation
        "1.2.840.10008.5.1.4.1.1.1.1.1",  # digital X-ray, for processing
        "1.2.840.10008.5.1.4.1.1.7",  # secondary capture
        "1.2.840.10008.5.1.4.1.1.7.2",  # multi-frame secondary capture, 8 bit
        "1.2.840.10008.5.1.4.1.1.7.3",  # multi-frame secondary capture, 16 bit
    }
)
# Parts of words for "chest" in the languages used for body parts. They are found inside compound words too.
_CHEST = re.compile("CHEST|THORAX|TORAX|TORACE|TORAKS|LUNG|PULMO|POUMON|PULMAO|PULMON|CXR|胸|肺")
# Defined terms of PS3.16 annex L for parts that are X-rayed. Other words are not shown, as they may be free text.
_BODY_PARTS = frozenset(
    {
        "ABDOMEN", "ANKLE", "ARM", "BREAST", "CLAVICLE", "COCCYX", "CSPINE", "ELBOW", "EXTREMITY", "FEMUR", "FINGER",
        "FOOT", "FOREARM", "HAND", "HEAD", "HIP", "HUMERUS", "JAW", "KNEE", "LEG", "LSPINE", "NECK", "PATELLA",
        "PELVIS", "RIBCAGE", "RIBS", "SCAPULA", "SHOULDER", "SKULL", "SPINE", "STERNUM", "TIBIA", "TOE", "TSPINE",
        "WHOLEBODY", "WRIST",
    }
)  # fmt: skip
_FRONTAL = {
    View.PA: re.compile("POSTEROANTERIOR|PA(CHEST|ERECT|UPRIGHT)?"),
    View.AP: re.compile("ANTEROPOSTERIOR|AP(CHEST|ERECT|UPRIGHT|SUPINE|SEMI\\w*|SITTING|PORT\\w*)?"),
}
_LATERAL = re.compile("LL|RL|[LR]?LAT(ERAL\\w*)?|PROFIL\\w*")
# Oblique, decubitus, mammographic, apical, cross-table and other special views. They override any frontal view named.
_NOT_FRONTAL = re.compile(
    "[LR]LO|[LR][AP]O|OBL\\w*|[LR]LD\\w*|\\w*DECUB\\w*|CC|MLO|AXIAL|APICAL|LORDO\\w*|SWIM\\w*|X?TABLE|CROSS\\w*|TANG\\w*"
)
_VIEW_CODES = {
    "R-10214": View.PA,
    "R-40888": View.PA,
    "272479007": View.PA,
    "R-10206": View.AP,
    "399348003": View.AP,
    "R-10236": View.LATERAL,
    "399173006": View.LATERAL,
    "R-10232": View.LATERAL,
    "399198007": View.LATERAL,
    "399067008": View.LATERAL,
}

_LATERAL_VIEW = FilmNote("LATERAL_VIEW", "The header says that this is a lateral film. Open a frontal film.")
_NOT_FRONTAL_VIEW = FilmNote(
    "NOT_FRONTAL_VIEW", "The header names an oblique, decubitus or other special view. Open a frontal film."
)
_VIEW_UNKNOWN = FilmNote("VIEW_UNKNOWN", "The header does not say whether the film is frontal. Check that it is.")
_MODALITY_UNKNOWN = FilmNote("MODALITY_UNKNOWN", "The header names no known modality. Check that this is a radiograph.")
_BODY_PART_UNKNOWN = FilmNote(
    "BODY_PART_UNKNOWN",
    "The header names an unknown body part. Check that this is a chest film.",
)
_BURNED_IN = FilmNote(
    "BURNED_IN_ANNOTATION",
    "The header says that text is burned into this picture. Check that it does not identify the patient.",
)
_SECONDARY_CAPTURE = FilmNote(
    "SECONDARY_CAPTURE",
    "The header says that this picture is a scan, drawing or video capture. Interpret the result with care.",
)
_UNPROCESSED = FilmNote(
    "UNPROCESSED", "The header says that this is an unprocessed detector image. Export the processed film if possible."
)
_MIRRORED = FilmNote(
    "MIRRORED",
    "The header says that this film is mirrored: the patient's left is on the left of the picture. Left and right "
    "would be swapped in the result. Flip the film and open it again.",
)
_TURNED = FilmNote("TURNED", "The header says that the patient is not upright in this picture. Check its orientation.")
_COLOUR = FilmNote("COLOUR_PICTURE", "This picture is in colour. Export the film in shades of grey.")


def class_name(dataset: Dataset) -> str:
    """The standard's name of the SOP class without "Storage", or "unknown"."""
    uid = UID(text(dataset, "SOPClassUID"))
    name = uid.name if uid.name != uid and not uid.is_private else ""
    return name.removesuffix(" Storage") or "unknown"


def is_film_class(dataset: Dataset) -> bool:
    """Whether chest films can have this SOP class. A missing class is accepted."""
    return text(dataset, "SOPClassUID") in _FILM_CLASSES or not text(dataset, "SOPClassUID")


def view_of(dataset: Dataset) -> View:
    """View position. Some collections (NIH ChestX-ray14) write it into the patient position.

    UNKNOWN if no view is named, or several.
    """
    for keyword in ("ViewPosition", "PatientPosition"):
        if view := _view_in(text(dataset, keyword)):
            return view
    try:
        item = dataset.ViewCodeSequence[0]
        view_code, meaning = text(item, "CodeValue"), text(item, "CodeMeaning")
    except (MemoryError, RecursionError):
        raise
    except Exception:  # absent or damaged
        view_code, meaning = "", ""
    if view := _VIEW_CODES.get(view_code) or _view_in(meaning):
        return view
    row_towards = texts(dataset, "PatientOrientation")[:1]
    return View.LATERAL if row_towards in (["A"], ["P"]) else View.UNKNOWN


def _view_in(said: str) -> View | None:
    """The view that a text names, UNKNOWN if it names several, or None if it names none."""
    words = _words(said)
    named = [view for view, pattern in _FRONTAL.items() if any(pattern.fullmatch(word) for word in words)]
    if any(_LATERAL.fullmatch(word) for word in words):
        named.append(View.LATERAL)
    return named[0] if len(named) == 1 else View.UNKNOWN if named else None


def _words(said: str) -> list[str]:
    """The words of a text in upper case, without accents. Hyphenated words are joined into one."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", said.upper()) if not unicodedata.combining(c))
    return re.findall(r"[^\W\d_]+", plain.replace("-", ""))


def header_rejections(dataset: Dataset, *, coloured: bool) -> list[FilmNote]:
    """Reasons from the header why this is not a frontal chest film. `coloured`: whether the pixels are in colour.

    Unknown words do not lead to a rejection. The check of the picture decides then.
    """
    rejections: list[FilmNote] = []
    modality = code(dataset, "Modality")
    if modality in _MODALITIES:
        stated = f"names the modality {modality} ({_MODALITIES[modality]}), not CR or DX"
        rejections.append(FilmNote("WRONG_MODALITY", f"The header {stated}. Open a chest film."))
    if not is_film_class(dataset):
        rejections.append(
            FilmNote(
                "WRONG_SOP_CLASS",
                f"The header says that this is not a radiograph (type: {class_name(dataset)}). Open a chest film.",
            )
        )
    if named := _other_body_part(dataset):
        rejections.append(FilmNote("WRONG_BODY_PART", f"The header names the body part {named}. Open a chest film."))
    if view_of(dataset) == View.LATERAL:
        rejections.append(_LATERAL_VIEW)
    elif any(_NOT_FRONTAL.fullmatch(word) for word in _words(text(dataset, "ViewPosition"))):
        rejections.append(_NOT_FRONTAL_VIEW)
    if _directions(dataset) == ("R", "F"):
        rejections.append(_MIRRORED)
    if coloured:
        rejections.append(_COLOUR)
    return rejections


def _names_chest(dataset: Dataset) -> bool:
    return _CHEST.search("".join(_words(text(dataset, "BodyPartExamined")))) is not None


def _other_body_part(dataset: Dataset) -> str | None:
    """The body part in the header, if it is a known one other than the chest; else None."""
    if _names_chest(dataset):
        return None
    words = _words(text(dataset, "BodyPartExamined"))
    return next((word for word in (*words, "".join(words)) if word in _BODY_PARTS), None)


def header_warnings(dataset: Dataset) -> list[FilmNote]:
    """Warnings from the header. They are rare, so that users read them: ordinary films get none."""
    warnings: list[FilmNote] = []
    if code(dataset, "BurnedInAnnotation") == "YES":
        warnings.append(_BURNED_IN)
    # WSD or no value is no cause for a warning: workstations and research collections write it on good films.
    if code(dataset, "ConversionType") in ("DV", "DI", "DF", "DRW", "SI", "SYN"):
        warnings.append(_SECONDARY_CAPTURE)
    if code(dataset, "PresentationIntentType") == "FOR PROCESSING" or text(dataset, "SOPClassUID").endswith(
        ".1.1.1.1.1"
    ):
        warnings.append(_UNPROCESSED)
    if code(dataset, "Modality") not in (*FILM_MODALITIES, *_MODALITIES):
        warnings.append(_MODALITY_UNKNOWN)
    if text(dataset, "BodyPartExamined") and not _names_chest(dataset) and not _other_body_part(dataset):
        warnings.append(_BODY_PART_UNKNOWN)
    if view_of(dataset) == View.UNKNOWN:
        warnings.append(_VIEW_UNKNOWN)
    row, column = _directions(dataset)
    if row and (row in "HF" or column in "HLRAP"):
        warnings.append(_TURNED)
    return warnings


def _directions(dataset: Dataset) -> tuple[str, str]:
    """The patient direction in which rows and columns run, as the first letter of each; empty if not stated."""
    orientation = [word.upper() for word in texts(dataset, "PatientOrientation")]
    if len(orientation) != 2 or not all(orientation):
        return "", ""
    return orientation[0][0], orientation[1][0]
