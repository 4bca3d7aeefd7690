"""Where the picture archive is, how to sign in, and what may be done there. Set by the operator, off by default."""

import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from ptx_app.errors import SettingsError
from ptx_app.settings import PACS, PACS_START

_Seconds = Annotated[float, Field(gt=0, le=3600)]


class PacsSettings(BaseModel):
    """An archive that speaks DICOMweb, and what the operator allows.

    Attributes:
        address: where its DICOMweb services are, such as https://pacs.example/dicom-web.
        token, token_file: bearer token, or a file with it, which is read for every request.
        user, password: for basic authentication.
        certificate, key: PEM files of a client certificate; without `key`, the certificate's file has both.
        ca_bundle: PEM file of the authorities to trust in place of the public ones.
        plain_http: allow http:// to another machine. Films, passwords and tokens can then be read on the way.
        connect_seconds: time limit of a connection.
        answer_seconds: time limit between two pieces of an answer.
        whole_seconds: time limit of a whole answer.
        body_part: BodyPartExamined to search for; "" for any.
        patient_id: whether to search by patient ID and to show it.
        store: whether results may be stored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    token: SecretStr | None = None
    token_file: Path | None = None
    user: str | None = None
    password: SecretStr | None = None
    certificate: Path | None = None
    key: Path | None = None
    ca_bundle: Path | None = None
    plain_http: bool = False
    connect_seconds: _Seconds = 5.0
    answer_seconds: _Seconds = 30.0
    whole_seconds: _Seconds = 180.0
    body_part: Annotated[str, Field(max_length=16, pattern=r"^[A-Z0-9 _]*$")] = "CHEST"
    patient_id: bool = False
    store: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            parts = urlsplit(self.address)
            usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            usable = False
        if not usable or parts.scheme not in ("http", "https") or parts.query or parts.fragment or parts.username:
            raise ValueError("the address must look like https://pacs.example/dicom-web")
        if parts.scheme == "http" and not self.plain_http and not _is_loopback(str(parts.hostname)):
            raise ValueError("the address is not encrypted; use https://, or allow it with plain_http")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password belong together")
        if sum(each is not None for each in (self.token, self.token_file, self.user)) > 1:
            raise ValueError("set one of token, token_file and user")
        if self.key and not self.certificate:
            raise ValueError("key belongs to a certificate")
        for name in ("token_file", "certificate", "key", "ca_bundle"):
            file: Path | None = getattr(self, name)
            if file is not None and not file.is_file():
                raise ValueError(f"the file of {name} does not exist")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_pacs_settings(values: Mapping[str, str]) -> PacsSettings:
    """The operator's settings.

    Args:
        values: PTX_PACS names a TOML file with the attributes of `PacsSettings`. PTX_PACS_ADDRESS, PTX_PACS_TOKEN and
            so on set single ones and override the file. Other names are ignored.

    Raises:
        SettingsError: PACS_NOT_SET, PACS_SETTINGS_UNREADABLE or PACS_SETTINGS_INVALID.
    """
    document: dict[str, Any] = {}
    if file := values.get(PACS):
        try:
            document = tomllib.loads(Path(file).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            raise SettingsError(
                "PACS_SETTINGS_UNREADABLE", "The archive's settings cannot be read. PTX_PACS must name a TOML file."
            ) from None
    document |= {
        name.removeprefix(PACS_START).lower(): value
        for name, value in values.items()
        if name.startswith(PACS_START) and value
    }
    if not document:
        raise SettingsError("PACS_NOT_SET", "No archive is set. Set PTX_PACS or PTX_PACS_ADDRESS; see docs/pacs.md.")
    try:
        return PacsSettings.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        said = str(first["msg"]).removeprefix("Value error, ")
        raise SettingsError(
            "PACS_SETTINGS_INVALID", f"The archive's settings are wrong{where and f' at {where}'}: {said}."
        ) from None
