"""DICOM files and pictures made by the tests, with known pixels: they must be read back to within one grey level."""

import contextlib
import io
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from ptx_app.errors import FilmError, NotAFilmError
from ptx_app.film import Limits, read_film
from ptx_app.film.grey import GreyScale, shades_of
from tests.support.films import dicom_of

LEVEL = 1 / 255


@st.composite
def stored_films(draw):
    """Stored values (96, 80), their number of bits, and whether they are signed."""
    bits = draw(st.integers(8, 16))
    signed = draw(st.booleans())
    low = -(1 << bits - 1) if signed else 0
    values = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).integers(low, low + (1 << bits), (96, 80))
    values.flat[:2] = low, low + (1 << bits) - 1
    return values, bits, signed


def written(values: np.ndarray, bits: int, signed: bool, **tags: object) -> bytes:
    """A film with these stored values; `tags` sets how to show them."""
    allocated = 8 if bits == 8 else 16
    pixels = values.astype(f"<{'i' if signed else 'u'}{allocated // 8}").tobytes()
    form = {
        "BitsAllocated": allocated,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(signed),
        "PixelData": pixels,
        "WindowCenter": None,
        "WindowWidth": None,
    }
    return dicom_of(np.zeros(values.shape, np.float32), **(form | tags))


def with_texts(film: bytes, **tags: str) -> bytes:
    """The film with decimal strings set to these texts, which need not be numbers."""
    dataset = pydicom.dcmread(io.BytesIO(film))
    for keyword, said in tags.items():
        tag = pydicom.tag.Tag(keyword)
        padded = said.encode() + b" " * (len(said) % 2)
        dataset[tag] = pydicom.dataelem.RawDataElement(tag, "DS", len(padded), padded, 0, False, True)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def linear(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """The linear VOI function as defined in PS3.3 C.11.2.1.2.1."""
    return np.where(
        values <= centre - 0.5 - (width - 1) / 2,
        0.0,
        np.where(values > centre - 0.5 + (width - 1) / 2, 1.0, (values - (centre - 0.5)) / (width - 1) + 0.5),
    )


def read(data: bytes) -> np.ndarray:
    return read_film(data).pixels


@given(stored_films(), st.floats(0.2, 0.8), st.floats(0.2, 2.0), st.booleans())
@settings(max_examples=60, deadline=None)
def test_windows_of_any_depth_sign_and_polarity(film, where, how_wide, inverted):
    values, bits, signed = film
    centre = round(values.min() + where * (1 << bits))
    width = max(2, round(how_wide * (1 << bits)))
    data = written(
        values,
        bits,
        signed,
        WindowCenter=centre,
        WindowWidth=width,
        PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
    )
    truth = linear(values, centre, width)
    assert np.abs(read(data) - (1 - truth if inverted else truth)).max() <= LEVEL


@given(stored_films(), st.data())
@settings(max_examples=40, deadline=None)
def test_bits_may_lie_anywhere_in_the_word(film, data):
    values, bits, signed = film
    high = data.draw(st.integers(bits - 1, 7 if bits == 8 else 15))
    centre = round(float(values.mean()))
    pixels = read(
        written(values << high + 1 - bits, bits, signed, HighBit=high, WindowCenter=centre, WindowWidth=1 << bits)
    )
    assert np.abs(pixels - linear(values, centre, 1 << bits)).max() <= LEVEL


def smooth_values(bits: int, signed: bool, seed: int = 1) -> np.ndarray:
    """Smooth stored values (300, 260) over the full range of `bits`."""
    low = -(1 << bits - 1) if signed else 0
    return low + np.rint(smooth(seed) / 255 * ((1 << bits) - 1)).astype(int)


@given(st.integers(8, 16), st.booleans(), st.integers(1, 7), st.booleans())
@settings(max_examples=30, deadline=None)
def test_bits_stated_too_low_give_a_warning_and_all_of_them_are_read(bits, signed, missing, run_length):
    values = smooth_values(bits, signed)
    stated = bits - missing
    centre = round(float(values.mean()))
    dataset = pydicom.dcmread(io.BytesIO(written(values, bits, signed, WindowCenter=centre, WindowWidth=1 << bits)))
    if run_length:
        dataset.compress(uid.RLELossless, generate_instance_uid=False)
    dataset.BitsStored, dataset.HighBit = stated, stated - 1
    out = io.BytesIO()
    dataset.save_as(out)
    film = read_film(out.getvalue())
    assert "BITS_STORED_WRONG" in {warning.code for warning in film.warnings}
    assert np.abs(film.pixels - linear(values, centre, 1 << bits)).max() <= LEVEL


@given(stored_films(), st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0]), st.integers(-3000, 3000))
@settings(max_examples=40, deadline=None)
def test_rescale_comes_before_the_window(film, slope, intercept):
    values, bits, signed = film
    real = values * slope + intercept
    centre, width = round(float(real.mean())), max(2, round(float(np.ptp(real)) * 0.8))
    data = written(
        values, bits, signed, RescaleSlope=slope, RescaleIntercept=intercept, WindowCenter=centre, WindowWidth=width
    )
    assert np.abs(read(data) - linear(real, centre, width)).max() <= LEVEL


EXTREMES = st.sampled_from(
    [
        "1e308",
        "-1e308",
        "1e-300",
        "5e-324",
        "1e9",
        "1e10",
        "-1e9",
        "0",
        "1",
        "-1",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "x",
        "",
    ]
)


@given(stored_films(), EXTREMES, EXTREMES, EXTREMES, EXTREMES, st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
@settings(max_examples=200, deadline=None)
def test_no_header_number_makes_shades_that_are_none(film, slope, intercept, centre, width, function):
    values, bits, signed = film
    data = written(values, bits, signed, VOILUTFunction=function)
    data = with_texts(data, RescaleSlope=slope, RescaleIntercept=intercept, WindowCenter=centre, WindowWidth=width)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        pixels = read(data)
    assert np.isfinite(pixels).all()
    assert 0 <= pixels.min() <= pixels.max() <= 1


@pytest.mark.parametrize(
    ("slope", "intercept"), [("1e308", "0"), ("1", "-1e300"), ("nan", "0"), ("1", "inf"), ("0", "5")]
)
def test_a_senseless_rescale_is_ignored_with_a_warning(slope, intercept):
    values = np.random.default_rng(3).integers(0, 4096, (96, 80))
    data = written(values, 12, False, WindowCenter=2048, WindowWidth=4096)
    film = read_film(with_texts(data, RescaleSlope=slope, RescaleIntercept=intercept))
    assert "RESCALE_IGNORED" in {warning.code for warning in film.warnings}
    assert np.abs(film.pixels - linear(values, 2048, 4096)).max() <= LEVEL


def test_shades_that_are_no_numbers_are_an_error():
    with np.errstate(all="ignore"), pytest.raises(FilmError) as raised:
        shades_of(np.arange(256, dtype=np.uint8).reshape(16, 16), GreyScale(bits_stored=8, slope=float("inf")))
    assert raised.value.code == "PIXELS_BROKEN"


@given(stored_films(), st.integers(8, 16), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=40, deadline=None)
def test_voi_luts_of_any_depth(film, lut_bits, seed, inverted):
    values, bits, signed = film
    first = int(values.min())
    entries = np.sort(np.random.default_rng(seed).integers(0, 1 << lut_bits, min(1 << bits, 65535)))
    entries[-1] = (1 << lut_bits) - 1
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, lut_bits]
    item["LUTDescriptor"].VR = "SS" if signed else "US"
    item.LUTData = entries.astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    data = written(
        values,
        bits,
        signed,
        VOILUTSequence=[item],
        PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
    )
    truth = entries[np.clip(values - first, 0, len(entries) - 1)] / ((1 << lut_bits) - 1)
    assert np.abs(read(data) - (1 - truth if inverted else truth)).max() <= LEVEL


@given(stored_films(), st.booleans())
@settings(max_examples=30, deadline=None)
def test_without_a_window_the_order_of_greys_is_kept_and_the_range_used(film, inverted):
    values, bits, signed = film
    pixels = read(written(values, bits, signed, PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2"))
    order = np.argsort(values.ravel(), kind="stable")
    steps = np.diff(pixels.ravel()[order])
    assert (steps <= 0).all() if inverted else (steps >= 0).all()
    assert pixels.min() == pytest.approx(0, abs=0.02)
    assert pixels.max() == pytest.approx(1, abs=0.02)


@given(stored_films(), st.booleans())
@settings(max_examples=30, deadline=None)
def test_padding_is_black_whatever_the_polarity_and_stays_out_of_the_range(film, inverted):
    values, bits, signed = film
    low, span = int(values.min()), 1 << bits
    values = np.clip(values, low + span // 4, low + span // 2)
    padding = low + span - 1
    values[:20] = padding
    polarity = "MONOCHROME1" if inverted else "MONOCHROME2"
    # Padding has the same sign as the pixels. The VR must be given, as the keyword alone does not define it.
    data = pydicom.dcmread(io.BytesIO(written(values, bits, signed, PhotometricInterpretation=polarity)))
    data.add_new("PixelPaddingValue", "SS" if signed else "US", padding)
    with_padding = io.BytesIO()
    data.save_as(with_padding)
    pixels = read(with_padding.getvalue())
    assert pixels[:20].max() == 0
    if bits > 8:  # 8-bit films without a window are shown unchanged
        assert pixels[20:].max() == pytest.approx(1, abs=0.03)


def compressed(stream: bytes, syntax: uid.UID, values: np.ndarray, bits: int) -> bytes:
    data = pydicom.dcmread(io.BytesIO(written(values, bits, False, WindowCenter=2**bits / 2, WindowWidth=2**bits)))
    data.PixelData = encapsulate([stream + b"\0" * (len(stream) % 2)])
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = syntax
    out = io.BytesIO()
    data.save_as(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (uid.JPEGLossless, lambda values: imagecodecs.ljpeg_encode(values)),
        (uid.JPEGLosslessSV1, lambda values: imagecodecs.ljpeg_encode(values)),
        (uid.JPEGLSLossless, lambda values: imagecodecs.jpegls_encode(values)),
        (uid.JPEG2000Lossless, lambda values: imagecodecs.jpeg2k_encode(values, codecformat="j2k", reversible=True)),
        (uid.HTJ2KLossless, lambda values: imagecodecs.htj2k_encode(values)),
    ],
    ids=["JPEG 57", "JPEG 70", "JPEG-LS 80", "JPEG 2000 90", "HTJ2K 201"],
)
def test_lossless_syntaxes_equal_the_uncompressed_film(syntax, encode):
    values = np.random.default_rng(3).integers(0, 65536, (96, 80)).astype(np.uint16)
    try:
        stream = encode(values)
    except (imagecodecs.DelayedImportError, AttributeError):
        pytest.skip("imagecodecs was built without this encoder")
    plain = written(values, 16, False, WindowCenter=32768, WindowWidth=65536)
    assert np.array_equal(read(compressed(stream, syntax, values, 16)), read(plain))


def test_rle_deflated_and_big_endian_equal_the_uncompressed_film():
    values = np.random.default_rng(4).integers(0, 4096, (96, 80))
    plain = written(values, 12, False, WindowCenter=2048, WindowWidth=4096)
    others = []
    for syntax in (uid.RLELossless, uid.DeflatedExplicitVRLittleEndian, uid.ImplicitVRLittleEndian):
        data = pydicom.dcmread(io.BytesIO(plain))
        if syntax == uid.RLELossless:
            data.compress(syntax, generate_instance_uid=False)
        data.file_meta.TransferSyntaxUID = syntax
        out = io.BytesIO()
        pydicom.dcmwrite(out, data, enforce_file_format=True)
        others.append(out.getvalue())
    data = pydicom.dcmread(io.BytesIO(plain))
    data.PixelData = values.astype(">u2").tobytes()
    data.file_meta.TransferSyntaxUID = uid.ExplicitVRBigEndian
    out = io.BytesIO()
    pydicom.dcmwrite(out, data, implicit_vr=False, little_endian=False)
    for other in (*others, out.getvalue()):
        assert np.array_equal(read(other), read(plain))


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_end_in_a_film_or_one_sentence(noise):
    for data in (noise, b"\0" * 128 + b"DICM" + noise, b"\x89PNG\r\n\x1a\n" + noise, b"\xff\xd8\xff" + noise):
        with pytest.raises(FilmError):
            read_film(data)


@given(st.integers(0, 10**6), st.integers(1, 60))
@settings(max_examples=80, deadline=None)
def test_damaged_films_end_in_a_film_or_one_sentence(seed, places):
    data = bytearray(written(np.arange(96 * 80).reshape(96, 80) % 4096, 12, False))
    chance = np.random.default_rng(seed)
    for place in chance.integers(128, min(len(data), 2000), places):
        data[place] = chance.integers(256)
    with contextlib.suppress(FilmError):
        pixels = read(bytes(data))
        assert np.isfinite(pixels).all()
        assert 0 <= pixels.min() <= pixels.max() <= 1


@pytest.mark.parametrize("depth", [1000, 20_000])
def test_sequences_nested_too_deep_are_refused(depth):
    opened = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closed = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    film = written(np.zeros((96, 80), int), 12, False)
    pixels = film.rfind(b"\xe0\x7f\x10\x00")
    with pytest.raises(FilmError) as raised:
        read_film(film[:pixels] + opened * depth + closed * depth + film[pixels:])
    assert raised.value.code == "DICOM_NESTED_TOO_DEEP"


def picture(array: np.ndarray, kind: str = "PNG", mode: str | None = None, **options: object) -> bytes:
    image = Image.fromarray(array) if mode is None else Image.fromarray(array).convert(mode)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.uint8, np.uint16]))
@settings(max_examples=20, deadline=None)
def test_grey_pngs_are_read_as_they_are(seed, kind):
    values = np.random.default_rng(seed).integers(0, np.iinfo(kind).max + 1, (96, 80)).astype(kind)
    assert np.abs(read(picture(values)) - values / np.iinfo(kind).max).max() <= LEVEL


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA"])
def test_other_pngs_of_a_grey_film_are_the_same_film(mode):
    values = np.tile(np.linspace(0, 255, 100).astype(np.uint8), (100, 1))
    assert np.abs(read(picture(values, mode=mode)) - values / 255).max() <= 2 * LEVEL


def test_exif_rotation_is_followed():
    values = np.zeros((100, 160), np.uint8)
    values[:50] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    film = read(picture(values, "JPEG", quality=95, exif=exif))
    assert film.shape == (160, 100)
    assert film[:, 60:].mean() > 0.9
    assert film[:, :40].mean() < 0.1


def png_claiming(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 10**6))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 1), (20_000, 20_000)])
def test_png_bombs_are_refused_by_what_they_claim(size):
    with pytest.raises(FilmError) as raised:
        read_film(png_claiming(*size))
    assert raised.value.code == "TOO_LARGE"


def test_jpeg_bombs_are_refused_by_what_they_claim():
    data = bytearray(cv2.imencode(".jpg", np.zeros((100, 100), np.uint8))[1].tobytes())
    frame = data.find(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    with pytest.raises(FilmError) as raised:
        read_film(bytes(data))
    assert raised.value.code == "TOO_LARGE"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_pictures_cut_short_are_refused(kind, share):
    data = picture(np.random.default_rng(0).integers(0, 256, (300, 300)).astype(np.uint8), kind)
    with pytest.raises(FilmError):
        read_film(data[: int(len(data) * share)])


JPEGS = {
    "baseline": {},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "with restarts": {"restart_marker_rows": 1},
    "progressive with restarts": {"progressive": True, "restart_marker_rows": 1},
}


def smooth(seed: int) -> np.ndarray:
    grey = cv2.GaussianBlur(np.random.default_rng(seed).random((300, 260)), (0, 0), 4)
    return np.rint((grey - grey.min()) / np.ptp(grey) * 255).astype(np.uint8)


def as_dicom(stream: bytes, values: np.ndarray) -> bytes:
    return compressed(stream, uid.JPEGBaseline8Bit, values, 8)


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
def test_whole_jpegs_of_any_kind_are_read(options):
    values = smooth(1)
    stream = picture(values, "JPEG", quality=95, **options)
    for data in (stream, as_dicom(stream, values)):
        assert np.abs(read(data) - values / 255).mean() < LEVEL


@pytest.mark.parametrize("options", JPEGS.values(), ids=JPEGS)
@pytest.mark.parametrize("dicom", [False, True], ids=["JPEG", "DICOM"])
def test_jpegs_cut_short_and_ended_are_refused(options, dicom):
    values = smooth(1)
    stream = picture(values, "JPEG", quality=95, **options)
    scan = stream.find(b"\xff\xda") + 14
    # Cut at many places up to the last byte, but not exactly between two scans: there a progressive picture is
    # complete, only coarse.
    for at in np.linspace(scan, len(stream) - 3, 20).astype(int):
        cut = stream[:at].rstrip(b"\xff") + b"\xff\xd9"
        with pytest.raises(FilmError) as raised:
            read_film(as_dicom(cut, values) if dicom else cut)
        assert raised.value.code == "TRUNCATED"


@pytest.mark.parametrize("kind", ["baseline", "optimised", "with restarts"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_jpegs_with_bytes_taken_out_are_refused(kind, share):
    values = smooth(1)
    stream = picture(values, "JPEG", quality=95, **JPEGS[kind])
    at = int(len(stream) * share)
    for data in (stream[:at] + stream[at + 500 :], as_dicom(stream[:at] + stream[at + 500 :], values)):
        with pytest.raises(FilmError):
            read_film(data)


def test_jpegs_of_more_scans_than_a_film_has_are_refused():
    stream = picture(smooth(1), "JPEG", progressive=True)
    last = stream.rfind(b"\xff\xda")
    with pytest.raises(FilmError) as raised:
        read_film(stream[:last] + stream[last:-2] * 100 + stream[-2:])
    assert raised.value.code == "PIXELS_BROKEN"


@pytest.mark.parametrize("negative", [False, True])
def test_a_sign_in_the_codestream_alone_gives_a_warning_and_the_header_is_followed(negative):
    values = np.random.default_rng(5).integers(0, 4096, (96, 80))
    kind = np.int16 if negative else np.uint16
    stream = imagecodecs.jpeg2k_encode(values.astype(kind), codecformat="j2k", reversible=True)
    dataset = pydicom.dcmread(io.BytesIO(compressed(stream, uid.JPEG2000Lossless, values, 12)))
    for signed in (False, True):
        dataset.PixelRepresentation = int(signed)
        out = io.BytesIO()
        dataset.save_as(out)
        film = read_film(out.getvalue())
        meant = np.where((values >= 2048) & signed, values - 4096, values)
        assert np.abs(film.pixels - linear(meant, 2048, 4096)).max() <= LEVEL
        assert ("SIGN_WRONG" in {warning.code for warning in film.warnings}) == (signed != negative)


def test_long_header_numbers_are_not_repeated():
    data = pydicom.dcmread(io.BytesIO(written(np.zeros((96, 80), int), 12, False)))
    tag = pydicom.tag.Tag("NumberOfFrames")
    data[tag] = pydicom.dataelem.RawDataElement(tag, "IS", 300, b"9" * 300, 0, False, True)
    out = io.BytesIO()
    data.save_as(out)
    try:
        said = repr(read_film(out.getvalue()).warnings)
    except FilmError as error:
        said = error.message
    assert "9" * 20 not in said


@pytest.mark.parametrize(
    ("orientation", "rejections", "warnings"),
    [
        (["L", "F"], set(), set()),
        (["R", "F"], {"MIRRORED"}, set()),
        (["R", "H"], set(), {"TURNED"}),
        (["F", "R"], set(), {"TURNED"}),
    ],
)
def test_mirrored_films_are_rejected_and_rotated_ones_get_a_warning(orientation, rejections, warnings):
    film = read_film(dicom_of(np.random.default_rng(6).random((96, 80), np.float32), PatientOrientation=orientation))
    assert {rejection.code for rejection in film.rejections} == rejections
    assert {warning.code for warning in film.warnings} == warnings


def test_what_is_too_large_is_not_looked_at():
    with pytest.raises(FilmError) as raised:
        read_film(b"\0" * 1001, Limits(file_bytes=1000))
    assert raised.value.code == "TOO_LARGE"


@pytest.mark.parametrize("start", [b"%PDF-1.7", b"GIF89a", b"PK\x03\x04", b"II*\0", b"plain text"])
def test_other_formats_are_named_or_unknown(start):
    with pytest.raises(FilmError) as raised:
        read_film(start + b"\0" * 300)
    assert raised.value.code in {"FORMAT_UNSUPPORTED", "FORMAT_UNKNOWN"}


def test_many_frames_are_refused_for_what_they_are():
    with pytest.raises(NotAFilmError):
        read_film(dicom_of(np.zeros((64, 64), np.float32), NumberOfFrames=2, PixelData=b"\0" * 64 * 64 * 4))
