"""Films for tests, made from arrays, so that no film has to be in the repository."""

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from ptx_app.film import read_film
from tests.support.simulate import simulate_pneumothorax

CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"


def dicom_of(pixels: NDArray[np.float32], **tags: object) -> bytes:
    """A 16-bit MONOCHROME2 chest CR of (H, W) float32 in [0, 1]; `tags` set or replace header values by keyword."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CR_STORAGE
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    header = {
        "SOPClassUID": CR_STORAGE,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "CR",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "WindowCenter": 32767.5,
        "WindowWidth": 65535,
        "PixelData": (pixels * 65535 + 0.5).astype("<u2").tobytes(),
    }
    for keyword, value in (header | tags).items():
        setattr(dataset, keyword, value)
    written = io.BytesIO()
    pydicom.dcmwrite(written, dataset)
    return written.getvalue()


# Drawn by eye on RG1 as shares of width and height, on the patient's left: from the mediastinum over the apex and down
# the side.
_CHEST_WALL = np.array(
    [(0.552, 0.194), (0.567, 0.123), (0.609, 0.076), (0.668, 0.070), (0.726, 0.100), (0.774, 0.159), (0.812, 0.230),
     (0.837, 0.307), (0.852, 0.389), (0.865, 0.471), (0.876, 0.553), (0.886, 0.635)],
    dtype=np.float32,
)  # fmt: skip
_PLEURA = np.array(
    [(0.553, 0.205), (0.576, 0.162), (0.617, 0.131), (0.665, 0.129), (0.711, 0.156), (0.750, 0.210), (0.778, 0.274),
     (0.799, 0.343), (0.816, 0.415), (0.835, 0.486), (0.857, 0.558), (0.886, 0.635)],
    dtype=np.float32,
)  # fmt: skip


def real_dicom() -> bytes:
    """A real chest CR without a known pneumothorax: NEMA WG04's public sample RG1, 15 bit, MONOCHROME1, of the package
    pydicom-data (MIT).
    """
    import data_store  # the package pydicom-data

    return (Path(data_store.__file__).parent / "data" / "RG1_UNCR.dcm").read_bytes()


@lru_cache(maxsize=1)  # drawing it takes half a second
def simulated_film() -> NDArray[np.float32]:
    """The same film with a pneumothorax drawn into it by code, (H, W) float32 in [0, 1]. It cannot be written to."""
    film = simulate_pneumothorax(read_film(real_dicom()).pixels, _CHEST_WALL, _PLEURA)[0]
    film.flags.writeable = False
    return film


def ct_slice() -> bytes:
    """A film whose header says that it is a CT slice."""
    dataset = pydicom.dcmread(io.BytesIO(real_dicom()))
    dataset.Modality = "CT"
    written = io.BytesIO()
    dataset.save_as(written)
    return written.getvalue()


def broken_dicom() -> bytes:
    """The prefix of a DICOM file, followed by noise."""
    return b"\0" * 128 + b"DICM" + b"\xff" * 500
