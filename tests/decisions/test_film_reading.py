"""How a film is read: limits, windows, LUTs, range of greys, and which header elements are parsed."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydicom import uid
from pydicom.datadict import DicomDictionary, RepeatersDictionary, keyword_for_tag
from pydicom.dataset import Dataset

from ptx_app.errors import FilmError, NotAFilmError
from ptx_app.film import Limits, read_film
from ptx_app.film.codestream import jpeg2000_facts
from ptx_app.film.dicom.parsing import parse
from ptx_app.film.dicom.source import read_dicom_source
from ptx_app.film.grey import Window
from tests.support.films import dicom_of
from tests.support.records import records_of

ROWS, COLUMNS = 80, 100
EXACT = Limits(pixels=ROWS * COLUMNS, side=COLUMNS, smallest_side=ROWS)
NOISE = np.random.default_rng(1).random((ROWS, COLUMNS), np.float32)


def picture(grey: NDArray[np.float32], kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray((grey * 255).astype(np.uint8)).save(out, kind)
    return out.getvalue()


def film_of(values: NDArray[np.int64], signed: bool = False, **tags: object) -> bytes:
    """A 16-bit film with these stored values, without a window unless `tags` has one."""
    usual = {
        "PixelRepresentation": int(signed),
        "PixelData": values.astype("<i2" if signed else "<u2").tobytes(),
        "WindowCenter": None,
        "WindowWidth": None,
    }
    return dicom_of(np.zeros(values.shape, np.float32), **(usual | tags))


# --- limits: each case breaks one limit only; a film exactly at all limits is read


FORMS = {
    "DICOM": dicom_of,
    "PNG": lambda grey: picture(grey, "PNG"),
    "JPEG": lambda grey: picture(grey, "JPEG"),
}


@pytest.mark.parametrize("upright", [False, True], ids=["wide", "high"])
@pytest.mark.parametrize("form", FORMS)
class TestEachLimitAlone:
    def film(self, form: str, upright: bool) -> bytes:
        return FORMS[form](NOISE.T.copy() if upright else NOISE)

    def test_a_film_at_every_limit_is_read(self, form, upright):
        shape = (COLUMNS, ROWS) if upright else (ROWS, COLUMNS)
        assert read_film(self.film(form, upright), EXACT).pixels.shape == shape

    def test_too_many_pixels_though_each_side_is_allowed(self, form, upright):
        with pytest.raises(FilmError) as raised:
            read_film(self.film(form, upright), Limits(pixels=ROWS * COLUMNS - 1, side=COLUMNS, smallest_side=ROWS))
        assert raised.value.code == "TOO_LARGE"

    def test_a_side_too_long_though_there_are_few_pixels(self, form, upright):
        with pytest.raises(FilmError) as raised:
            read_film(self.film(form, upright), Limits(pixels=ROWS * COLUMNS, side=COLUMNS - 1, smallest_side=ROWS))
        assert raised.value.code == "TOO_LARGE"

    def test_a_side_too_short_though_the_other_is_not(self, form, upright):
        with pytest.raises(NotAFilmError) as raised:
            read_film(self.film(form, upright), Limits(pixels=ROWS * COLUMNS, side=COLUMNS, smallest_side=ROWS + 1))
        assert raised.value.code == "TOO_SMALL"

    def test_too_long_a_file_though_its_film_is_small(self, form, upright):
        film = self.film(form, upright)
        assert read_film(film, Limits(file_bytes=len(film))).pixels.size == ROWS * COLUMNS
        with pytest.raises(FilmError) as raised:
            read_film(film, Limits(file_bytes=len(film) - 1))
        assert raised.value.code == "TOO_LARGE"


@pytest.mark.parametrize(("frames", "code"), [(2, "MULTI_FRAME"), (7, "MULTI_FRAME"), (8, "TOO_MANY_FRAMES")])
def test_more_frames_than_the_limit_are_damage_and_fewer_no_film(frames, code):
    with pytest.raises(FilmError) as raised:
        read_film(dicom_of(NOISE, NumberOfFrames=frames), Limits(frames=7))
    assert raised.value.code == code


def test_what_unpacks_to_more_than_the_limit_is_refused_though_the_file_is_short():
    dataset = pydicom.dcmread(io.BytesIO(dicom_of(np.zeros((ROWS, COLUMNS), np.float32))))
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    out = io.BytesIO()
    pydicom.dcmwrite(out, dataset, enforce_file_format=True)
    film = out.getvalue()
    unpacked = 2 * ROWS * COLUMNS  # bytes of the pixels; the header is smaller than that
    assert len(film) < unpacked
    assert read_film(film, Limits(file_bytes=len(film), inflated_bytes=2 * unpacked)).pixels.shape == (ROWS, COLUMNS)
    with pytest.raises(FilmError) as raised:
        read_film(film, Limits(inflated_bytes=unpacked))
    assert raised.value.code == "TOO_LARGE"


def test_nobody_can_change_a_film_that_another_may_hold():
    assert [record for record in records_of("ptx_app.film") if not record.__dataclass_params__.frozen] == []


def test_the_limits_are_these_unless_others_are_named():
    assert Limits() == Limits(
        file_bytes=134_217_728,
        inflated_bytes=134_217_728,
        pixels=36_000_000,
        side=16_384,
        smallest_side=64,
        frames=4096,
    )


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header states this size, but which has almost no data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("columns", "rows"), [(6001, 6000), (6000, 6001), (16_385, 64), (64, 16_385)], ids=["area", "area", "side", "side"]
)
@pytest.mark.parametrize("form", ["DICOM", "PNG"])
def test_a_header_that_states_a_little_too_much_is_refused(form, columns, rows):
    claimed = dicom_of(NOISE, Rows=rows, Columns=columns) if form == "DICOM" else png_claiming(columns, rows)
    with pytest.raises(FilmError) as raised:
        read_film(claimed)
    assert raised.value.code == "TOO_LARGE"


@pytest.mark.parametrize("limit", [1, 3])
def test_the_message_for_a_file_that_is_too_long_names_the_limit_in_megabytes(limit):
    with pytest.raises(FilmError, match=rf"larger than {limit} MB"):
        read_film(b"\0" * (limit * 2**20 + 1), Limits(file_bytes=limit * 2**20))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_pictures_are_brought_upright_from_each_exif_orientation(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray((NOISE * 255).astype(np.uint8)).save(out, kind, exif=exif)
    with Image.open(out) as stored:
        upright = np.asarray(ImageOps.exif_transpose(stored))
    assert np.array_equal(np.rint(read_film(out.getvalue()).pixels * 255), upright)


def test_a_palette_of_either_size_gives_its_greys():
    levels = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 256
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": levels.astype(np.uint8).tobytes()}
    for bits, of_one in ((8, 1), (16, 257)):
        table = (np.arange(255, -1, -1) * of_one).astype(f"<u{bits // 8}").tobytes()
        tags = {f"{colour}PaletteColorLookupTableData": table for colour in ("Red", "Green", "Blue")}
        tags |= {f"{colour}PaletteColorLookupTableDescriptor": [256, 0, bits] for colour in ("Red", "Green", "Blue")}
        read = read_film(film_of(levels, PhotometricInterpretation="PALETTE COLOR", **tags, **eight))
        assert np.array_equal(np.rint(read.pixels * 255), 255 - levels)


def test_a_coloured_picture_is_said_to_be_one_and_a_grey_one_of_three_channels_is_not():
    grey = (NOISE * 255).astype(np.uint8)
    for red, codes in ((grey, set()), (255 - grey, {"COLOUR_PICTURE"})):
        out = io.BytesIO()
        Image.fromarray(np.dstack([red, grey, grey])).save(out, "PNG")
        read = read_film(out.getvalue())
        assert read.shape == (ROWS, COLUMNS)
        assert {note.code for note in (*read.warnings, *read.rejections)} & {"COLOUR_PICTURE"} == codes


@pytest.mark.parametrize("at", [24, 28], ids=["width", "height"])
def test_tiles_without_a_size_are_damage(at):
    stream = bytearray(imagecodecs.jpeg2k_encode((NOISE * 255).astype(np.uint8), codecformat="j2k"))
    assert jpeg2000_facts(bytes(stream)).rows == ROWS
    stream[at : at + 4] = bytes(4)
    with pytest.raises(FilmError) as raised:
        jpeg2000_facts(bytes(stream))
    assert raised.value.code == "PIXELS_BROKEN"


# --- windows and LUTs


def test_of_several_windows_the_first_is_shown():
    values = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    centres, widths = [2000, 5000, 7000], [1000, 3000, 500]
    film = read_film(film_of(values, WindowCenter=centres, WindowWidth=widths)).pixels
    alone = [
        read_film(film_of(values, WindowCenter=centre, WindowWidth=width)).pixels
        for centre, width in zip(centres, widths, strict=True)
    ]
    assert np.array_equal(film, alone[0])
    assert not np.array_equal(film, alone[1])
    assert not np.array_equal(film, alone[2])


RAMP = np.tile(np.arange(100), (ROWS, 1))  # 0 to 99; tests add an offset
CURVE = (np.arange(100) / 99) ** 3  # no other step of reading turns the ramp into this


def lut_item(first: int, entries: NDArray[np.generic]) -> Dataset:
    """A LUT of 100 entries. Its first mapped value is written as an unsigned number."""
    item = Dataset()
    item.LUTDescriptor = [100, first & 0xFFFF, 16]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = entries.astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    return item


def assert_curved(film: bytes) -> None:
    """Assert that each value of the ramp was looked up in the curve."""
    assert np.abs(read_film(film).pixels - CURVE[RAMP]).max() < 1e-3


@pytest.mark.parametrize(
    ("starts", "signed", "intercept"),
    [
        pytest.param(40_000, False, None, id="unsigned values: 40,000 is not negative"),
        pytest.param(-100, True, None, id="signed values: 65,436 means -100"),
        pytest.param(-32_768, True, None, id="signed values: 32,768 means -32,768"),
        pytest.param(-1000, False, -1000, id="unsigned values rescaled to below zero"),
        pytest.param(40_000, True, 40_000, id="signed values rescaled to above zero"),
        pytest.param(40_000, False, 0, id="unsigned values, rescaled by 1 and 0"),
    ],
)
def test_a_voi_luts_first_value_has_a_sign_only_where_values_may_lie_below_zero(starts, signed, intercept):
    rescale = {} if intercept is None else {"RescaleSlope": 1, "RescaleIntercept": intercept}
    lut = lut_item(starts, CURVE * 65535)
    assert_curved(film_of(RAMP + starts - (intercept or 0), signed, VOILUTSequence=[lut], **rescale))


def test_a_falling_rescale_may_lie_below_zero_at_the_highest_stored_value():
    lut = lut_item(-99, CURVE[::-1] * 65535)
    film = film_of(RAMP, False, RescaleSlope=-1, RescaleIntercept=0, VOILUTSequence=[lut])
    assert np.abs(read_film(film).pixels - CURVE[RAMP]).max() < 1e-3


def test_signed_values_may_lie_below_zero_in_spite_of_an_intercept_above_it():
    assert_curved(
        film_of(
            RAMP - 1500, True, RescaleSlope=1, RescaleIntercept=1000, VOILUTSequence=[lut_item(-500, CURVE * 65535)]
        )
    )


@pytest.mark.parametrize(("starts", "signed"), [(40_000, False), (-100, True)])
def test_a_modality_luts_first_value_has_the_sign_of_the_stored_values(starts, signed):
    lut = lut_item(starts, CURVE * 9999)
    assert_curved(film_of(RAMP + starts, signed, ModalityLUTSequence=[lut], WindowCenter=5000, WindowWidth=10_000))


def test_behind_a_modality_lut_no_value_lies_below_zero():
    modality, voi = lut_item(-100, np.arange(100) + 40_000), lut_item(40_000, CURVE * 65535)
    assert_curved(film_of(RAMP - 100, True, ModalityLUTSequence=[modality], VOILUTSequence=[voi]))


# --- the range of greys without a window: one pixel in 200 is clipped at either end


def ramp_with(darkest: int = 0, brightest: int = 0) -> NDArray[np.int64]:
    """10,000 px rising from 20,000 to 30,000. The first `darkest` px are 0, the last `brightest` px 60,000."""
    values = np.linspace(20_000, 30_000, 10_000).round().astype(np.int64)
    values[:darkest], values[10_000 - brightest :] = 0, 60_000
    return values.reshape(100, 100)


def test_fewer_than_one_pixel_in_200_is_clipped_at_either_end():
    shades = read_film(film_of(ramp_with(darkest=45, brightest=45))).pixels.ravel()
    assert shades[45:60].max() < 0.01
    assert shades[-60:-45].min() > 0.99


def test_more_than_one_pixel_in_200_is_not_clipped():
    shades = read_film(film_of(ramp_with(darkest=55))).pixels.ravel()
    assert shades[55] == pytest.approx(20_055 / 30_000, abs=0.001)
    shades = read_film(film_of(ramp_with(brightest=55))).pixels.ravel()
    assert shades[-56] == pytest.approx((29_945 - 20_000) / 40_000, abs=0.001)


@pytest.mark.parametrize(("between", "ignored"), [(195, True), (205, False)])
def test_a_window_counts_where_one_pixel_in_50_lies_within_it(between, ignored):
    values = np.full(10_000, 60_000)
    values[:5000], values[:between] = 100, 30_000
    film = film_of(values.reshape(100, 100), WindowCenter=30_000, WindowWidth=1000)
    assert ("WINDOW_IGNORED" in {warning.code for warning in read_film(film).warnings}) is ignored


@pytest.mark.parametrize("ends", [(100, 200), (200, 100)], ids=["rising", "falling"])
def test_all_values_between_the_ends_of_the_padding_are_black_and_no_others(ends):
    values = np.full((100, 100), 5000)
    values.flat[:4] = 99, 100, 200, 201
    values[1] = 150
    film = pydicom.dcmread(io.BytesIO(film_of(values, PhotometricInterpretation="MONOCHROME1")))
    film.add_new("PixelPaddingValue", "US", ends[0])
    film.add_new("PixelPaddingRangeLimit", "US", ends[1])
    out = io.BytesIO()
    film.save_as(out)
    pixels = read_film(out.getvalue()).pixels
    assert (pixels.flat[:4] > 0.9).tolist() == [
        True,
        False,
        False,
        True,
    ]  # MONOCHROME1: low values outside the range are white
    assert pixels.flat[1:3].max() == 0
    assert pixels[1].max() == 0


@pytest.mark.parametrize(
    ("window", "shades"),
    [
        # By hand from PS3.3 C.11.2.1: for the values 74, 75, 90, 100, 125 and 126.
        (Window(100, 50, "LINEAR_EXACT"), [0, 0, 0.3, 0.5, 1, 1]),
        (Window(100, 51), [0, 0.01, 0.31, 0.51, 1, 1]),  # LINEAR: centre less 0.5, width less 1
        (Window(100, 40, "SIGMOID"), [0.0691, 0.0759, 0.2689, 0.5, 0.9241, 0.9309]),
        (Window(90, 1), [0, 0, 1, 1, 1, 1]),
        (Window(90, 0.5), [0, 0, 0.5, 1, 1, 1]),  # below 1 as LINEAR_EXACT
    ],
)
def test_a_window_shows_values_as_the_standard_says(window, shades):
    shown = window(np.array([74, 75, 90, 100, 125, 126], float))
    assert shown == pytest.approx(shades, abs=5e-5)


# --- which header elements may be read

# Only these elements are parsed. Never add a name, identifier, date or free text.
MAY_BE_READ = {
    "BitsAllocated",
    "BitsStored",
    "BluePaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor",
    "BodyPartExamined",
    "BurnedInAnnotation",
    "CenterOfCircularShutter",
    "Columns",
    "ConversionType",
    "Exposure",
    "ExposureTime",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "GreenPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor",
    "HighBit",
    "ImagerPixelSpacing",
    "KVP",
    "Modality",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "OverlayBitPosition",
    "PatientOrientation",
    "PatientPosition",
    "PhotometricInterpretation",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PixelSpacing",
    "PixelSpacingCalibrationType",
    "PlanarConfiguration",
    "PresentationIntentType",
    "PresentationLUTShape",
    "RadiusOfCircularShutter",
    "RedPaletteColorLookupTableData",
    "RedPaletteColorLookupTableDescriptor",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SOPClassUID",
    "SamplesPerPixel",
    "ShutterLeftVerticalEdge",
    "ShutterLowerHorizontalEdge",
    "ShutterRightVerticalEdge",
    "ShutterShape",
    "ShutterUpperHorizontalEdge",
    "SpecificCharacterSet",  # pydicom adds it
    "VOILUTFunction",
    "VOILUTSequence",
    "VerticesOfThePolygonalShutter",
    "ViewCodeSequence",
    "ViewPosition",
    "WindowCenter",
    "WindowWidth",
}


def file_of_every_element() -> bytes:
    """A file with every element of the standard's dictionary and a few private ones, all empty."""
    repeated = {int(mask.replace("x", "0"), 16) for mask in RepeatersDictionary}
    private = {group << 16 | element for group in (9, 0x29, 0x6001, 0x7FE1) for element in (0x10, 0x1001)}
    tags = sorted({*DicomDictionary, *repeated, *private})
    data = b"".join(struct.pack("<HHL", tag >> 16, tag & 0xFFFF, 0) for tag in tags if 8 <= tag >> 16 < 0xFFFC)
    plain = pydicom.dcmread(io.BytesIO(dicom_of(NOISE)))
    plain.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    out = io.BytesIO()
    pydicom.dcmwrite(out, plain, enforce_file_format=True)
    return out.getvalue()[: out.getvalue().index(b"\x08\x00\x16\x00")] + data


# What a DICOM export with the patient's own header may read beside them, and nothing else does. Every one is used.
OF_PATIENT_AND_STUDY = {
    "AccessionNumber",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyDate",
    "StudyDescription",
    "StudyID",
    "StudyInstanceUID",
    "StudyTime",
}


def test_an_export_with_the_patients_header_parses_these_beside_them(monkeypatch):
    parsed = []

    def keep(*given):
        parsed.append(parse(*given).dataset)
        raise FilmError("KEPT", "Parsed.")

    monkeypatch.setattr("ptx_app.film.dicom.source.parse", keep)
    with pytest.raises(FilmError, match="Parsed"):
        read_dicom_source(file_of_every_element(), Limits())
    assert {keyword_for_tag(element) or str(element) for element in parsed[0].keys()} == (  # noqa: SIM118
        MAY_BE_READ | OF_PATIENT_AND_STUDY
    )


def test_of_a_file_with_every_element_only_these_are_parsed():
    dataset = parse(file_of_every_element(), Limits()).dataset
    assert {keyword_for_tag(element) or str(element) for element in dataset.keys()} == MAY_BE_READ  # noqa: SIM118
