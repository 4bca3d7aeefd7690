"""What docs/deployment.md says about Orthanc beside the page, done to Debian's own settings and tried."""

import http.client
import json
import re
import shutil
import socket
from base64 import b64encode
from pathlib import Path

import pytest

from ptx_app.hospital.dicomweb import Filters, Pacs
from ptx_app.hospital.pacs_settings import read_pacs_settings
from ptx_app.model.manifest import ROOT
from tests.hospital.test_dicomweb import STUDY, film
from tests.support.orthanc import ORTHANC, Orthanc, free_port, started

DEBIANS = Path("/etc/orthanc")


def blocks() -> list[str]:
    """The document's settings: changes to orthanc.json, the whole credentials.json, and pacs.toml."""
    text = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    section = text.partition("## Orthanc beside it")[2].partition("\n## ")[0]
    return re.findall(r"```(?:json|toml)\n(.*?)```", section, re.DOTALL)


def without_comments(text: str) -> dict[str, object]:
    """Settings of Orthanc, whose JSON may have comments."""
    return json.loads(re.sub(r'("(?:[^"\\]|\\.)*")|/\*.*?\*/|//[^\n]*', r"\1", text, flags=re.DOTALL))


def status(port: int, source: str, password: str) -> int:
    """The answer to who comes from this address of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(source, 0))
    connection.request("GET", "/system", headers={"Authorization": f"Basic {b64encode(password.encode()).decode()}"})
    found = connection.getresponse().status
    connection.close()
    return found


@ORTHANC
@pytest.mark.skipif(not (DEBIANS / "credentials.json").is_file(), reason="Debian's settings of Orthanc are missing")
def test_orthanc_set_up_as_the_document_says_serves_this_machine_and_nobody_else(tmp_path):
    fragment, credentials, toml = blocks()
    port, closed = free_port(), free_port()
    settings, films = tmp_path / "etc", tmp_path / "db"
    shutil.copytree(DEBIANS, settings)
    films.mkdir()
    own = {"HttpPort": port, "DicomPort": closed, "StorageDirectory": str(films), "IndexDirectory": str(films)}
    changes = json.loads("{" + fragment.strip().removesuffix(",") + "}")
    main = settings / "orthanc.json"
    main.write_text(json.dumps(without_comments(main.read_text(encoding="utf-8")) | changes | own), encoding="utf-8")
    (settings / "credentials.json").write_text(credentials)
    (tmp_path / "pacs.toml").write_text(toml.replace(":8042/", f":{port}/"))
    ((user, password),) = json.loads(credentials)["RegisteredUsers"].items()

    archive = Orthanc(port, tmp_path / "log", user, password)
    with started(archive, settings):
        archive.put(film())
        pacs = Pacs(read_pacs_settings({"PTX_PACS": str(tmp_path / "pacs.toml"), "PTX_PACS_STORE": "true"}))
        assert [study.uid for study in pacs.worklist(Filters()).studies] == [STUDY]
        assert pacs.store(film(), STUDY).ok
        assert len(pacs.films(STUDY)) == 2
        assert status(port, "127.0.0.1", f"{user}:{password}") == 200
        assert status(port, "127.0.0.1", f"{user}:another") == 401
        assert status(port, "127.0.0.2", f"{user}:{password}") == 401
        with socket.socket() as modality:
            assert modality.connect_ex(("127.0.0.1", closed)) != 0
