"""A real archive: Debian's Orthanc with its DICOMweb plug-in, on a free port, in a temporary folder.

Orthanc 1.10 has no setting for its address. It listens on all, and refuses whoever does not come from 127.0.0.1.
"""

import json
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests
from numpy.typing import NDArray
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from tests.support.serving import until

_PROGRAM = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ORTHANC = pytest.mark.skipif(
    not (Path(_PROGRAM).exists() and _PLUGIN.exists()), reason="orthanc and orthanc-dicomweb are not installed"
)
_PATIENCE = 120  # seconds, for a busy machine
USER, PASSWORD = "reader", "pässwörd"


class Orthanc:
    """The running archive: its addresses, what it has said, and its own interface to look into it."""

    def __init__(self, port: int, log: Path, user: str = USER, password: str = PASSWORD) -> None:
        self.base, self.address = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}/dicom-web"
        self.log = log
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.auth = (user.encode(), password.encode())
        # The archive may close a connection at the moment at which a request goes out on it.
        again = Retry(3, backoff_factor=0.2, allowed_methods=None)
        self._session.mount("http://", HTTPAdapter(max_retries=again))

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def up(self) -> bool:
        try:
            return self._session.get(f"{self.base}/system", timeout=5).ok
        except requests.RequestException:
            return False

    def put(self, *films: bytes) -> None:
        """Store films."""
        for film in films:
            self._session.post(f"{self.base}/instances", data=film, timeout=60).raise_for_status()

    def clear(self) -> None:
        """Delete everything."""
        for patient in self._session.get(f"{self.base}/patients", timeout=60).json():
            self._session.delete(f"{self.base}/patients/{patient}", timeout=60).raise_for_status()

    def objects(self, study: str) -> list[bytes]:
        """Every object of a study, as files."""
        query = {"Level": "Instance", "Query": {"StudyInstanceUID": study}}
        found = self._session.post(f"{self.base}/tools/find", json=query, timeout=60).json()
        return [self._session.get(f"{self.base}/instances/{each}/file", timeout=60).content for each in found]


@contextmanager
def running_orthanc(home: Path) -> Iterator[Orthanc]:
    """Start an empty archive with its files in `home`. It ends with the block."""
    port = free_port()
    (home / "db").mkdir(parents=True)
    settings = {
        "Name": "test",
        "StorageDirectory": str(home / "db"),
        "IndexDirectory": str(home / "db"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "Plugins": [str(_PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (home / "orthanc.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
    archive = Orthanc(port, home / "log")
    with started(archive, home / "orthanc.json"):
        yield archive


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def started(archive: Orthanc, settings: Path) -> Iterator[None]:
    """Start an archive with its settings, a file or a folder, and wait for it. It ends with the block."""
    with archive.log.open("wb") as opened:
        process = subprocess.Popen([_PROGRAM, str(settings)], stdout=opened, stderr=opened)
    try:
        until(lambda: archive.up() or process.poll() is not None, _PATIENCE)
        assert process.poll() is None, archive.said
        yield
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def dumped(data: bytes) -> str:
    """A DICOM file as dcmtk reads it, with long values cut."""
    return _by_dcmtk("dcmdump", "-q", data=data).decode("utf-8", "replace")


def pictures(data: bytes) -> list[NDArray[np.uint8]]:
    """The frames of a DICOM file as dcmtk draws them: (H, W), or (H, W, 3) as BGR."""
    frames = int(re.findall(r"IS \[(\d+)\].*NumberOfFrames", dumped(data) + "IS [1] NumberOfFrames")[0])
    drawn = [_by_dcmtk("dcmj2pnm", "-q", "+on", "+F", str(frame), data=data) for frame in range(1, frames + 1)]
    return [cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_UNCHANGED) for each in drawn]


def _by_dcmtk(name: str, *options: str, data: bytes) -> bytes:
    """What a program of dcmtk says of a file."""
    program = shutil.which(name)
    if program is None:
        pytest.skip("dcmtk is not installed")
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        file.write(data)
        file.flush()
        return subprocess.run([program, *options, file.name], capture_output=True, check=True, timeout=60).stdout
