"""Sends films by C-STORE as a modality does."""

import io
import shutil
import ssl

import pydicom
import pytest
from pynetdicom import AE

DCMTK = pytest.mark.skipif(not (shutil.which("storescu") and shutil.which("echoscu")), reason="dcmtk is not installed")


def dataset_of(film: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(film))


def store(
    port: int,
    film: bytes,
    caller: str = "MODALITY",
    called: str = "PTX",
    sop_class: str | None = None,
    tls: ssl.SSLContext | None = None,
):
    """The status of a C-STORE, or None if the association or the context was refused or aborted."""
    dataset = dataset_of(film)
    if sop_class:
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    entity = AE(caller)
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title=called, tls_args=(tls, "127.0.0.1") if tls else None)
    if not association.is_established:
        return None
    try:
        return association.send_c_store(dataset).get("Status")
    except (ValueError, RuntimeError):
        return None
    finally:
        association.release()
