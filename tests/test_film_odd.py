"""Unusual DICOM files, made by code: each is read, or rejected with the right reason."""

import io
import struct

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from ptx_app.errors import FilmError
from ptx_app.film import read_film
from ptx_app.film.check.frontal import check
from ptx_app.film.dicom.suitability import class_name
from ptx_app.film.radiograph import Radiograph, View
from tests.support.films import dicom_of, simulated_film

LEVEL = 1 / 255


@pytest.fixture(scope="module")
def twelve_bits() -> NDArray[np.int64]:
    """Stored values (300, 280) of a real film, 12 bit, from 0 to 4095."""
    film = cv2.resize(simulated_film(), (280, 300), interpolation=cv2.INTER_AREA)
    return np.rint((film - film.min()) / np.ptp(film) * 4095).astype(np.int64)


def dicom(values: NDArray[np.int64], bits: int = 12, **tags: object) -> bytes:
    """A film of unsigned stored values, 8 or 16 bits allocated, with a window over all its bits."""
    allocated = 8 if bits == 8 else 16
    form = {
        "BitsAllocated": allocated,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "WindowCenter": 1 << (bits - 1),
        "WindowWidth": 1 << bits,
        "PixelData": values.astype(f"<u{allocated // 8}").tobytes(),
    }
    return dicom_of(np.zeros(values.shape, np.float32), **(form | tags))


def packed(film: bytes, stream: bytes, syntax: str, **tags: object) -> bytes:
    """The film with a compressed picture instead of its pixels."""
    dataset = pydicom.dcmread(io.BytesIO(film))
    dataset.PixelData = encapsulate([stream + b"\0" * (len(stream) % 2)])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def jpeg(grey: NDArray[np.uint8], mode: str = "L") -> bytes:
    out = io.BytesIO()
    Image.fromarray(grey).convert(mode).save(out, "JPEG", quality=98)
    return out.getvalue()


def warnings_of(film: Radiograph) -> set[str]:
    return {warning.code for warning in film.warnings}


def rejections_of(film: Radiograph) -> set[str]:
    return {rejection.code for rejection in film.rejections}


def code_of(data: bytes) -> str:
    with pytest.raises(FilmError) as raised:
        read_film(data)
    return raised.value.code


def differ(first: bytes | Radiograph, second: bytes | Radiograph) -> float:
    """The largest difference between two films."""
    pixels = [(film if isinstance(film, Radiograph) else read_film(film)).pixels for film in (first, second)]
    return float(np.abs(pixels[0] - pixels[1]).max())


# --- how much of the grey range a film fills


def lut(values: NDArray[np.int64], stated: int, bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [stated, 0, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = values.astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    return item


def png(values: NDArray[np.int64], kind: type) -> bytes:
    out = io.BytesIO()
    Image.fromarray(values.astype(kind)).save(out, "PNG")
    return out.getvalue()


DARK = {
    "LUT of fewer bits than stated": lambda v: dicom(v, VOILUTSequence=[lut(np.arange(4096), 4096, 16)]),
    "window over all of 16 bits": lambda v: dicom(v, WindowCenter=32768, WindowWidth=65536),
    "few levels in the middle": lambda v: dicom(v // 16 + 1000),
    "inverted": lambda v: dicom((4095 - v) // 8, PhotometricInterpretation="MONOCHROME1"),
    "8-bit DICOM": lambda v: dicom(v // 64, 8, WindowCenter=None, WindowWidth=None),
    "8-bit PNG": lambda v: png(v // 64, np.uint8),
    "16-bit PNG": lambda v: png(v, np.uint16),
    "16-bit PNG of signed values": lambda v: png(v + 32768, np.uint16),
}


@pytest.mark.parametrize("make", DARK.values(), ids=DARK)
def test_a_film_that_fills_few_greys_is_stretched_and_says_so(twelve_bits, make):
    film = read_film(make(twelve_bits))
    assert "GREY_RANGE_STRETCHED" in warnings_of(film)
    assert np.ptp(film.pixels) > 0.98
    assert film.pixels.min() >= 0
    assert film.pixels.max() <= 1
    assert np.corrcoef(film.pixels.ravel(), twelve_bits.ravel())[0, 1] > 0.995


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_film_that_fills_enough_greys_is_left_as_it_is(twelve_bits, share):
    film = read_film(dicom((twelve_bits * share).astype(np.int64)))
    assert "GREY_RANGE_STRETCHED" not in warnings_of(film)
    assert film.pixels.max() == pytest.approx(share, abs=0.01)


def test_too_few_greys_to_be_stretched_are_refused(twelve_bits):
    assert rejections_of(read_film(png(twelve_bits // 1024 + 60, np.uint8))) == {"TOO_FEW_GREYS"}


def test_greys_that_no_pixel_has_do_not_count(twelve_bits):
    seven_spread_out = twelve_bits // 600 * 100 + 1000
    assert rejections_of(read_film(dicom(seven_spread_out))) == {"TOO_FEW_GREYS"}


def test_padding_does_not_count_as_greys(twelve_bits):
    flat = twelve_bits // 16
    flat[:60] = 4095
    film = read_film(dicom(flat, PixelPaddingValue=4095))
    assert "GREY_RANGE_STRETCHED" in warnings_of(film)
    assert film.pixels[:60].max() == 0


# --- incomplete files


def jpeg_film(values: NDArray[np.int64]) -> bytes:
    eight = (values // 16).astype(np.uint8)
    return packed(dicom(eight, 8), jpeg(eight), uid.JPEGBaseline8Bit)


def test_a_compressed_film_without_its_last_delimiter_is_read_and_says_so(twelve_bits):
    whole = jpeg_film(twelve_bits)
    end = whole.rindex(b"\xfe\xff\xdd\xe0")
    film = read_film(whole[:end])
    assert warnings_of(film) == {"CUT_SHORT"}
    assert differ(film, whole) == 0
    assert warnings_of(read_film(whole)) == set()


@pytest.mark.parametrize("share", [0.3, 0.6, 0.99])
def test_films_cut_within_the_picture_are_said_to_be(twelve_bits, share):
    jpeg_2000 = imagecodecs.jpeg2k_encode(twelve_bits.astype(np.uint16), codecformat="j2k", reversible=True)
    run_lengths = pydicom.dcmread(io.BytesIO(dicom(twelve_bits)))
    run_lengths.compress(uid.RLELossless, generate_instance_uid=False)
    out = io.BytesIO()
    run_lengths.save_as(out)
    for whole in (
        jpeg_film(twelve_bits),
        packed(dicom(twelve_bits), jpeg_2000, uid.JPEG2000Lossless),
        out.getvalue(),
        dicom(twelve_bits),
    ):
        assert read_film(whole).pixels.shape == (300, 280)
        start = whole.rindex(b"\xe0\x7f\x10\x00") + 12
        assert code_of(whole[: start + int((len(whole) - start) * share)]) == "TRUNCATED"


def test_a_film_cut_within_its_header_is_said_to_be(twelve_bits):
    whole = dicom(twelve_bits, PatientComments="x" * 500)
    assert code_of(whole[: whole.index(b"x" * 500) + 100]) == "TRUNCATED"


@pytest.mark.parametrize(
    "behind",
    [
        b"\0" * 777,
        b"\xff" * 777,
        struct.pack("<HH2sHL", 0xFFFC, 0xFFFC, b"OB", 0, 99_999),
        struct.pack("<HH2sHL", 0x7FE1, 0x1010, b"UN", 0, 0xFFFFFFFF) + b"\xfe\xff\x00\xe0",
    ],
)
def test_what_stands_behind_a_whole_film_is_not_looked_at(twelve_bits, behind):
    for whole in (dicom(twelve_bits), jpeg_film(twelve_bits)):
        film = read_film(whole + behind)
        assert warnings_of(film) == set()
        assert differ(film, whole) == 0


# --- LUTs that are too short


@pytest.mark.parametrize(("bits", "missing"), [(12, 1), (16, 1), (12, 300), (10, 2)])
def test_a_lut_that_ends_early_has_entries_of_its_own_size(twelve_bits, bits, missing):
    entries = np.arange(4096) * ((1 << bits) - 1) // 4095
    film = read_film(dicom(twelve_bits, VOILUTSequence=[lut(entries[:-missing], 4096, bits)]))
    assert warnings_of(film) == {"VOI_LUT_SHORT"}
    assert np.abs(film.pixels - np.minimum(twelve_bits, 4095 - missing) / 4095).max() < 2 * LEVEL


def test_a_lut_with_most_entries_missing_is_left_out(twelve_bits):
    film = read_film(dicom(twelve_bits, WindowCenter=None, VOILUTSequence=[lut(np.arange(2000), 4096, 12)]))
    assert "VOI_LUT_IGNORED" in warnings_of(film)


def test_packed_entries_of_8_bits_are_told_by_their_bits(twelve_bits):
    item = lut(np.arange(4096), 4096, 8)
    item.LUTData = (np.arange(4096) // 16).astype(np.uint8).tobytes()
    film = read_film(dicom(twelve_bits, VOILUTSequence=[item]))
    assert warnings_of(film) == set()
    assert np.abs(film.pixels - twelve_bits / 4095).max() < 2 * LEVEL


def test_a_second_lut_serves_where_the_first_is_damaged(twelve_bits):
    film = read_film(dicom(twelve_bits, VOILUTSequence=[lut(np.arange(5), 4096, 12), lut(np.arange(4096), 4096, 12)]))
    assert warnings_of(film) == set()


# --- unused bits


@pytest.mark.parametrize("kind", ["constant", "random", "letters"])
def test_bits_above_those_stored_mean_nothing(twelve_bits, kind):
    above = {
        "constant": np.full(twelve_bits.shape, 12),
        "random": np.random.default_rng(1).integers(0, 16, twelve_bits.shape),
        "letters": np.where(np.arange(280)[None] % 97 < 2, 8, 0) * np.ones((300, 1), int),
    }[kind]
    film = read_film(dicom(twelve_bits | above << 12))
    assert warnings_of(film) == set()
    assert differ(film, dicom(twelve_bits)) == 0


def test_a_high_bit_that_the_pixels_belie_is_not_followed(twelve_bits):
    film = read_film(dicom(twelve_bits, HighBit=15))
    assert warnings_of(film) == {"HIGH_BIT_WRONG"}
    assert differ(film, dicom(twelve_bits)) == 0
    left_aligned = read_film(dicom(twelve_bits << 4, HighBit=15))
    assert warnings_of(left_aligned) == set()
    assert differ(left_aligned, dicom(twelve_bits)) == 0


@pytest.mark.parametrize(("stored", "high"), [(0, 11), (17, 16), (12, 5), (12, 10), (12, 16)])
def test_bits_that_contradict_themselves_give_a_warning(twelve_bits, stored, high):
    film = read_film(dicom(twelve_bits, BitsStored=stored, HighBit=high))
    assert "BITS_CONTRADICTORY" in warnings_of(film)
    assert np.abs(film.pixels - twelve_bits / 4095).max() < 2 * LEVEL


# --- unusual words in the header


@pytest.mark.parametrize(("said", "warned"), [("YES", True), ("NO", False), ("YES?", False), (None, False)])
def test_only_yes_says_that_text_is_burned_in(twelve_bits, said, warned):
    assert ("BURNED_IN_ANNOTATION" in warnings_of(read_film(dicom(twelve_bits, BurnedInAnnotation=said)))) == warned


@pytest.mark.parametrize("modality", ["DR", "CR", "DX", "RG"])
def test_modalities_of_radiographs_are_taken(twelve_bits, modality):
    film = read_film(dicom(twelve_bits, Modality=modality))
    assert (warnings_of(film), rejections_of(film)) == (set(), set())


@pytest.mark.parametrize("modality", ["", "XR", "RADIOGRAPHY"])
def test_unknown_modalities_warn(twelve_bits, modality):
    film = read_film(dicom(twelve_bits, Modality=modality))
    assert (warnings_of(film), rejections_of(film)) == ({"MODALITY_UNKNOWN"}, set())


@pytest.mark.parametrize("modality", ["CT", "MG", "US", "RF"])
def test_known_modalities_that_are_others_reject(twelve_bits, modality):
    assert rejections_of(read_film(dicom(twelve_bits, Modality=modality))) == {"WRONG_MODALITY"}


@pytest.mark.parametrize(
    ("sop_class", "name"),
    [
        (uid.ComputedRadiographyImageStorage, "Computed Radiography Image"),
        (uid.CTImageStorage, "CT Image"),
        ("1.2.840.10008.999", "unknown"),
        ("1.2.3.4", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_kind_of_a_file_is_named_as_the_standard_names_its_class(sop_class, name):
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    assert class_name(dataset) == name


@pytest.mark.parametrize(
    ("said", "warned", "rejected"),
    [
        ("CHEST", False, False),
        ("CHESTPA", False, False),
        ("chest 2 views", False, False),
        ("TORAX", False, False),
        ("TÓRAX", False, False),
        ("Lungs", False, False),
        ("ABDOMEN_CHEST", False, False),
        ("CAGE", True, False),
        ("BRYST", True, False),
        ("KNEE", False, True),
        ("KNEE LEFT", False, True),
        ("THORACIC SPINE", False, True),
        ("WHOLE BODY", False, True),
    ],
)
def test_only_known_words_name_parts_of_the_body(twelve_bits, said, warned, rejected):
    film = read_film(dicom(twelve_bits, BodyPartExamined=said, SpecificCharacterSet="ISO_IR 192"))
    assert ("BODY_PART_UNKNOWN" in warnings_of(film)) == warned
    assert ("WRONG_BODY_PART" in rejections_of(film)) == rejected


VIEWS = {
    "PA": (View.PA, set()),
    "AP": (View.AP, set()),
    "AP PORTABLE": (View.AP, set()),
    "AP_SUPINE": (View.AP, set()),
    "Postero-Anterior": (View.PA, set()),
    "LATERAL": (View.LATERAL, {"LATERAL_VIEW"}),
    "LEFT LATERAL": (View.LATERAL, {"LATERAL_VIEW"}),
    "LLAT": (View.LATERAL, {"LATERAL_VIEW"}),
    "XTABLE LATERAL": (View.LATERAL, {"LATERAL_VIEW"}),
    "X-TABLE": (View.UNKNOWN, {"NOT_FRONTAL_VIEW"}),
    "CROSS TABLE": (View.UNKNOWN, {"NOT_FRONTAL_VIEW"}),
    "AP LLD": (View.AP, {"NOT_FRONTAL_VIEW"}),
    "PA RLD": (View.PA, {"NOT_FRONTAL_VIEW"}),
    "RIGHT LATERAL DECUBITUS": (View.LATERAL, {"LATERAL_VIEW"}),
    "AP AXIAL": (View.AP, {"NOT_FRONTAL_VIEW"}),
    "AP LORDOTIC": (View.AP, {"NOT_FRONTAL_VIEW"}),
    "SWIMMERS": (View.UNKNOWN, {"NOT_FRONTAL_VIEW"}),
    "RAO": (View.UNKNOWN, {"NOT_FRONTAL_VIEW"}),
    "OBLIQUE": (View.UNKNOWN, {"NOT_FRONTAL_VIEW"}),
    "PA/LAT": (View.UNKNOWN, set()),
    "FRONT": (View.UNKNOWN, set()),
}


@pytest.mark.parametrize("said", VIEWS)
def test_views_are_read_word_by_word(twelve_bits, said):
    film = read_film(dicom(twelve_bits, ViewPosition=said))
    assert (film.view, rejections_of(film)) == VIEWS[said]
    assert ("VIEW_UNKNOWN" in warnings_of(film)) == (film.view == View.UNKNOWN)


# --- headers that do not match the pixels


def colour_dicom(pixels: NDArray[np.uint8], photometric: str) -> bytes:
    return dicom(
        np.zeros(pixels.shape[:2], int),
        8,
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation=photometric,
        PixelData=pixels.tobytes(),
    )


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_a_grey_film_stored_as_colour_is_a_film(twelve_bits, photometric):
    grey = (twelve_bits // 16).astype(np.uint8)
    chroma = grey if photometric == "RGB" else np.full_like(grey, 128)
    film = read_film(colour_dicom(np.dstack([grey, chroma, chroma]), photometric))
    assert rejections_of(film) == set()
    assert np.abs(film.pixels - grey / 255).max() < LEVEL


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_a_picture_with_colours_is_refused_whatever_it_is_called(twelve_bits, photometric):
    grey = (twelve_bits // 16).astype(np.uint8)
    film = read_film(colour_dicom(np.dstack([grey, 255 - grey, grey // 2]), photometric))
    assert rejections_of(film) == {"COLOUR_PICTURE"}


@pytest.mark.parametrize("stated", [1, 3])
def test_a_jpeg_of_another_number_of_samples_than_stated_is_read(twelve_bits, stated):
    grey = (twelve_bits // 16).astype(np.uint8)
    header = {"SamplesPerPixel": stated, "PhotometricInterpretation": "YBR_FULL_422" if stated == 3 else "MONOCHROME2"}
    film = read_film(packed(dicom(grey, 8), jpeg(grey, "L" if stated == 3 else "RGB"), uid.JPEGBaseline8Bit, **header))
    assert "SAMPLES_WRONG" in warnings_of(film)
    assert rejections_of(film) == set()
    assert np.abs(film.pixels - grey / 255).mean() < LEVEL


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.RLELossless]
)
def test_a_jpeg_under_another_syntax_is_read_by_its_own_start(twelve_bits, syntax):
    grey = (twelve_bits // 16).astype(np.uint8)
    film = read_film(packed(dicom(grey, 8), jpeg(grey), syntax))
    assert warnings_of(film) == {"SYNTAX_WRONG"}
    assert differ(film, jpeg_film(twelve_bits)) == 0


@pytest.mark.parametrize("signed", [False, True])
def test_a_sign_that_differs_is_followed_as_the_header_has_it(twelve_bits, signed):
    stored = twelve_bits - 2048 if signed else twelve_bits
    # As from an encoder that was set to the other sign: the same twelve bits.
    other = stored % 4096 if signed else (stored + 2048) % 4096 - 2048
    stream = imagecodecs.jpeg2k_encode(
        other.astype(np.uint16 if signed else np.int16), codecformat="j2k", reversible=True, bitspersample=12
    )
    window = {"WindowCenter": 0 if signed else 2048, "PixelRepresentation": int(signed)}
    film = read_film(packed(dicom(twelve_bits, **window), stream, uid.JPEG2000Lossless))
    assert warnings_of(film) == {"SIGN_WRONG"}
    assert np.abs(film.pixels - twelve_bits / 4095).max() < LEVEL


@pytest.mark.parametrize(("beyond", "code"), [(0, None), (2, "PIXELS_BROKEN")])
def test_run_lengths_of_more_than_twice_the_picture_are_damage(twelve_bits, beyond, code):
    run_lengths = pydicom.dcmread(io.BytesIO(dicom(twelve_bits)))
    run_lengths.compress(uid.RLELossless, generate_instance_uid=False)
    stream = next(generate_frames(run_lengths.PixelData, number_of_frames=1))
    longest = stream.ljust(2 * 2 * twelve_bits.size + 64, b"\0")
    film = packed(dicom(twelve_bits), longest + bytes(beyond), uid.RLELossless)
    if code is None:
        assert differ(film, dicom(twelve_bits)) == 0
    else:
        assert code_of(film) == code


# --- empty elements and unknown syntaxes


def test_without_a_number_of_bits_all_that_are_allocated_count(twelve_bits):
    sixteen = dicom(twelve_bits << 4 | 1, 16)
    assert differ(emptied(sixteen, "BitsStored"), sixteen) == 0


@pytest.mark.parametrize("keyword", ["SamplesPerPixel", "PixelRepresentation", "NumberOfFrames", "HighBit"])
def test_empty_elements_have_their_defaults(twelve_bits, keyword):
    for whole in (dicom(twelve_bits), jpeg_film(twelve_bits)):
        assert differ(emptied(whole, keyword), whole) == 0


def emptied(film: bytes, keyword: str) -> bytes:
    """The film with an empty element."""
    dataset = pydicom.dcmread(io.BytesIO(film))
    setattr(dataset, keyword, None)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "BitsAllocated", "PhotometricInterpretation"])
def test_elements_without_a_default_are_said_to_lack(twelve_bits, keyword):
    data = emptied(dicom(twelve_bits), keyword)
    with pytest.raises(FilmError, match=keyword) as raised:
        read_film(data)
    assert raised.value.code == "HEADER_INCOMPLETE"


@pytest.mark.parametrize("syntax", ["1.2.840.113619.5.2", "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.94"])
def test_an_unknown_syntax_is_said_to_be(twelve_bits, syntax):
    film = packed(dicom(twelve_bits), b"a film clip", syntax)
    assert code_of(film) == "TRANSFER_SYNTAX_UNKNOWN"
    assert code_of(film[: film.rindex(b"\xe0\x7f\x10\x00")]) == "TRANSFER_SYNTAX_UNKNOWN"


def test_an_unknown_photometric_interpretation_is_no_contradiction(twelve_bits):
    assert code_of(dicom(twelve_bits, PhotometricInterpretation="GREYSCALE")) == "PIXEL_FORM"


# --- lists with an invalid value


def with_raw(film: bytes, **texts: str) -> bytes:
    """The film with these decimal strings, even if they are not numbers."""
    dataset = pydicom.dcmread(io.BytesIO(film))
    for keyword, said in texts.items():
        tag = pydicom.tag.Tag(keyword)
        padded = said.encode() + b" " * (len(said) % 2)
        dataset[tag] = pydicom.dataelem.RawDataElement(tag, "DS", len(padded), padded, 0, False, True)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("centres", "widths"),
    [
        ("1500\\", "2000\\"),
        ("1500\\x", "2000\\y"),
        ("1500\\nan", "2000\\inf"),
        ("\\1500", "\\2000"),
        ("700\\1500", "0\\2000"),
        ("x\\1500\\9", "5\\2000\\9"),
    ],
)
def test_the_first_good_window_of_a_list_is_shown(twelve_bits, centres, widths):
    film = read_film(with_raw(dicom(twelve_bits), WindowCenter=centres, WindowWidth=widths))
    assert warnings_of(film) == set()
    assert differ(film, dicom(twelve_bits, WindowCenter=1500, WindowWidth=2000)) == 0


def test_the_films_made_here_are_films(twelve_bits):
    assert check(read_film(dicom(twelve_bits))) == ()
