"""Sends films by C-STORE as a modality does."""

import io
import os
import shutil
import ssl
import sys
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE

# pynetdicom puts programs of the same names beside Python, which take other options.
_ELSEWHERE = os.pathsep.join(
    each for each in os.environ["PATH"].split(os.pathsep) if each and Path(each) != Path(sys.executable).parent
)
STORESCU, ECHOSCU = (shutil.which(name, path=_ELSEWHERE) for name in ("storescu", "echoscu"))
DCMTK = pytest.mark.skipif(not (STORESCU and ECHOSCU), reason="dcmtk is not installed")


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
