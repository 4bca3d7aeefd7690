"""Films for tests, made from arrays, so that no film has to be in the repository."""

import io

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from ptx_app.film import read_film
from ptx_app.film.examples import EXAMPLES, example_bytes

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


def simulated_film() -> NDArray[np.float32]:
    """The example with a drawn pneumothorax, (H, W) float32 in [0, 1]."""
    return next(example for example in EXAMPLES if example.simulated).load(read_film).pixels


def ct_slice() -> bytes:
    """A film whose header says that it is a CT slice."""
    dataset = pydicom.dcmread(io.BytesIO(example_bytes()))
    dataset.Modality = "CT"
    written = io.BytesIO()
    dataset.save_as(written)
    return written.getvalue()


def broken_dicom() -> bytes:
    """The prefix of a DICOM file, followed by noise."""
    return b"\0" * 128 + b"DICM" + b"\xff" * 500
