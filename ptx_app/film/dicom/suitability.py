"""Whether a DICOM header speaks of a frontal chest film, and what else in it the reader of the film should know."""

import re

from pydicom.dataset import Dataset
from pydicom.uid import UID

from ptx_app.film.dicom.header import code, text, texts
from ptx_app.film.radiograph import FilmNote, View

_FILM_MODALITIES = ("CR", "DX", "RG")
_MODALITIES = {
    "BMD": "bone densitometry",
    "CT": "computed tomography",
    "ECG": "electrocardiography",
    "ES": "endoscopy",
    "GM": "microscopy",
    "IO": "intra-oral radiography",
    "IVUS": "intravascular ultrasound",
    "MG": "mammography",
    "MR": "magnetic resonance",
    "NM": "nuclear medicine",
    "OP": "ophthalmic photography",
    "OPT": "ophthalmic tomography",
    "OT": "other",
    "PT": "positron emission tomography",
    "PX": "panoramic dental radiography",
    "RF": "fluoroscopy",
    "RTDOSE": "radiotherapy dose",
    "RTIMAGE": "radiotherapy image",
    "SEG": "segmentation",
    "SM": "slide microscopy",
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
_CHEST = frozenset({"CHEST", "THORAX", "TORAX", "LUNG", "LUNGS", "CXR"})
# Defined terms of PS3.16 annex L that films are taken of; anything else is not repeated, for it may be free text.
_BODY_PARTS = frozenset(
    {
        "ABDOMEN",
        "ANKLE",
        "ARM",
        "BREAST",
        "CLAVICLE",
        "COCCYX",
        "CSPINE",
        "ELBOW",
        "EXTREMITY",
        "FEMUR",
        "FINGER",
        "FOOT",
        "FOREARM",
        "HAND",
        "HEAD",
        "HIP",
        "HUMERUS",
        "JAW",
        "KNEE",
        "LEG",
        "LSPINE",
        "NECK",
        "PATELLA",
        "PELVIS",
        "RIBCAGE",
        "RIBS",
        "SCAPULA",
        "SHOULDER",
        "SKULL",
        "SPINE",
        "STERNUM",
        "TIBIA",
        "TOE",
        "TSPINE",
        "WRIST",
    }
)
_FRONTAL = {"PA": View.PA, "AP": View.AP, "POSTEROANTERIOR": View.PA, "ANTEROPOSTERIOR": View.AP}
_LATERAL = frozenset({"LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT"})
_NOT_FRONTAL = frozenset({"LLO", "RLO", "RAO", "LAO", "RPO", "LPO", "LLD", "RLD", "OBLIQUE", "CC", "MLO", "AXIAL"})
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

_LATERAL_VIEW = FilmNote("LATERAL_VIEW", "The header says that this is a lateral film. Only frontal films are read.")
_NOT_FRONTAL_VIEW = FilmNote(
    "NOT_FRONTAL_VIEW", "The header names an oblique, decubitus or other special view. Only frontal films are read."
)
_VIEW_UNKNOWN = FilmNote("VIEW_UNKNOWN", "The header does not say whether the film is frontal. Check that it is.")
_BURNED_IN = FilmNote(
    "BURNED_IN_ANNOTATION",
    "The header says that text is burned into this picture. It may say who the patient is: look first.",
)
_SECONDARY_CAPTURE = FilmNote(
    "SECONDARY_CAPTURE",
    "The header calls this picture a scan, drawing or video copy of a film. Read the result with care.",
)
_UNPROCESSED = FilmNote(
    "UNPROCESSED", "The header says that this is the detector's raw picture. The model knows processed films only."
)
_MIRRORED = FilmNote(
    "MIRRORED",
    "The header says that the patient's left is at the left of the picture, so this film is mirrored and the sides "
    "named would be exchanged. Turn it over and open it again.",
)
_TURNED = FilmNote("TURNED", "The header says that the patient does not stand upright in this picture.")
_COLOUR = FilmNote("COLOUR_PICTURE", "This is a colour picture. A chest film has shades of grey.")


def class_name(dataset: Dataset) -> str:
    """The SOP class as the standard names it, without its last word; a general name for one it does not know."""
    uid = UID(text(dataset, "SOPClassUID"))
    name = uid.name if uid and uid.name != uid and not uid.is_private else ""
    return name.removesuffix(" Storage") or "file of an unknown kind"


def is_film_class(dataset: Dataset) -> bool:
    """Whether the SOP class is one that chest films come in; a missing one is given the benefit of the doubt."""
    return text(dataset, "SOPClassUID") in _FILM_CLASSES or not text(dataset, "SOPClassUID")


def view_of(dataset: Dataset) -> View:
    """View position; some collections (NIH ChestX-ray14) write it into the patient position."""
    for keyword in ("ViewPosition", "PatientPosition"):
        word = code(dataset, keyword)
        if word in _FRONTAL:
            return _FRONTAL[word]
        if word in _LATERAL:
            return View.LATERAL
    try:
        view_code = str(dataset.ViewCodeSequence[0].CodeValue)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # absent or damaged
        view_code = ""
    if view_code in _VIEW_CODES:
        return _VIEW_CODES[view_code]
    row_towards = texts(dataset, "PatientOrientation")[:1]
    return View.LATERAL if row_towards in (["A"], ["P"]) else View.UNKNOWN


def header_rejections(dataset: Dataset, grey: bool) -> list[FilmNote]:
    """Why the header says that this is no frontal chest film."""
    rejections: list[FilmNote] = []
    modality = code(dataset, "Modality")
    if modality not in _FILM_MODALITIES:
        known = _MODALITIES.get(modality)
        stated = f"names the modality {modality} ({known})" if known else "does not name a modality of radiographs"
        rejections.append(FilmNote("WRONG_MODALITY", f"The header {stated}. A chest film is CR or DX."))
    if not is_film_class(dataset):
        rejections.append(
            FilmNote("WRONG_SOP_CLASS", f"The header calls this a {class_name(dataset)}, not a radiograph.")
        )
    body_part = code(dataset, "BodyPartExamined")
    if body_part and not _CHEST.intersection(re.split(r"[^A-Z]+", body_part)):
        named = body_part if body_part in _BODY_PARTS else "another part of the body"
        rejections.append(FilmNote("WRONG_BODY_PART", f"The header names {named}, not the chest."))
    if view_of(dataset) == View.LATERAL:
        rejections.append(_LATERAL_VIEW)
    elif code(dataset, "ViewPosition") in _NOT_FRONTAL:
        rejections.append(_NOT_FRONTAL_VIEW)
    if _directions(dataset) == ("R", "F"):
        rejections.append(_MIRRORED)
    if not grey:
        rejections.append(_COLOUR)
    return rejections


def header_warnings(dataset: Dataset) -> list[FilmNote]:
    """What else the reader of the film should know. Rare enough to be read: ordinary films get none."""
    warnings: list[FilmNote] = []
    if code(dataset, "BurnedInAnnotation") == "YES":
        warnings.append(_BURNED_IN)
    # Workstations and research collections write WSD or nothing on films that are as good as the original.
    if code(dataset, "ConversionType") in ("DV", "DI", "DF", "DRW", "SI", "SYN"):
        warnings.append(_SECONDARY_CAPTURE)
    if code(dataset, "PresentationIntentType") == "FOR PROCESSING" or text(dataset, "SOPClassUID").endswith(
        ".1.1.1.1.1"
    ):
        warnings.append(_UNPROCESSED)
    if view_of(dataset) == View.UNKNOWN:
        warnings.append(_VIEW_UNKNOWN)
    row, column = _directions(dataset)
    if row and (row in "HF" or column in "HLRAP"):
        warnings.append(_TURNED)
    return warnings


def _directions(dataset: Dataset) -> tuple[str, str]:
    """Where the patient's rows and columns lead, by the first letter; empty where it is not said."""
    orientation = [word.upper() for word in texts(dataset, "PatientOrientation")]
    if len(orientation) != 2 or not all(orientation):
        return "", ""
    return orientation[0][0], orientation[1][0]
