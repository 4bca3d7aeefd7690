"""The operator's settings, all read here, from the environment or from Streamlit's secrets."""

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ptx_app.audit import Keeping, Log, Trail
from ptx_app.errors import SettingsError
from ptx_app.model.engine import Engine, choose_engine
from ptx_app.model.manifest import Source
from ptx_app.weights.fetch import named_sources

PACS, PACS_START = "PTX_PACS", "PTX_PACS_"
"""Names of the variables that set an archive; ptx_app/hospital/pacs_settings.py reads them."""


@dataclass(frozen=True)
class Settings:
    """The operator's settings. Each has the environment variable named in capitals.

    Attributes:
        weights: PTX_WEIGHTS, name of a manifest entry, or None for the manifest's default.
        weights_file: PTX_WEIGHTS_FILE, a local file to use for that entry; its hash must be the entry's.
        weights_drive: PTX_WEIGHTS_DRIVE, a Google Drive id to try first.
        weights_url: PTX_WEIGHTS_URL, an address to try first.
        engine: PTX_ENGINE, what computes the network: openvino, onnxruntime or torch; None to choose by the machine.
        feedback_dir: PTX_FEEDBACK_DIR, a folder to save readers' answers in, with the pixels of their films; None for
            none.
        public_host: PTX_PUBLIC_HOST, whether to warn against identifiable films; None to decide by the page's address.
        audit_folder: PTX_AUDIT_FOLDER, where the audit trail is kept; None for none.
        audit_key: PTX_AUDIT_KEY, the secret that seals its lines and names its films.
        role_claim: PTX_ROLE_CLAIM, the claim of the sign-in that names a person's roles; a path may have dots.
        reader_roles, operator_roles: PTX_READER_ROLE and PTX_OPERATOR_ROLE, the values of that claim, with commas, that
            let a person read films, or look after the page.
        idle_minutes: PTX_IDLE_MINUTES, after how long without use a sign-in ends.
        audit_keeping: PTX_AUDIT_FILE_MB, PTX_AUDIT_FILE_DAYS and PTX_AUDIT_KEEP_DAYS, when files are begun and deleted.
    """

    weights: str | None = None
    weights_file: Path | None = None
    weights_drive: str | None = None
    weights_url: str | None = None
    engine: Engine | None = None
    feedback_dir: Path | None = None
    public_host: bool | None = None
    audit_folder: Path | None = None
    audit_key: str = field(default="", repr=False)
    audit_keeping: Keeping = field(default_factory=Keeping)
    role_claim: str = "roles"
    reader_roles: tuple[str, ...] = ("reader",)
    operator_roles: tuple[str, ...] = ("operator",)
    idle_minutes: float = 15

    @property
    def weights_sources(self) -> tuple[Source, ...]:
        """The sources that the operator has set for the weights. Raises WeightsError as `named_sources`."""
        return named_sources(file=self.weights_file, drive=self.weights_drive, url=self.weights_url)

    def trail(self) -> Trail | None:
        """The audit trail, or None if the operator keeps none. Raises SettingsError as `Trail`."""
        return Trail(self.audit_folder, self.audit_key, self.audit_keeping) if self.audit_folder else None

    def log_of(self, verb: str) -> Log:
        """The audit trail as a run of a verb, such as "ptx watch", writes to it. Raises SettingsError as `Trail`."""
        return Log(self.trail(), by=verb, account=_account())


def _account() -> str | None:
    """The name of this process's user, as the system knows it: the environment may say any name."""
    if os.name != "posix":
        try:
            return getpass.getuser()
        except (OSError, KeyError, ImportError):
            return None
    import pwd

    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # as in a container
        return str(number)


_TRUTH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def read_settings(values: Mapping[str, str]) -> Settings:
    """Make the settings from a mapping of name to text. Missing names keep their default.

    Raises:
        SettingsError: SETTING_INVALID if a text cannot be read, or as `choose_engine`.
    """
    file, folder = values.get("PTX_WEIGHTS_FILE"), values.get("PTX_AUDIT_FOLDER")
    feedback = values.get("PTX_FEEDBACK_DIR")
    return Settings(
        weights=values.get("PTX_WEIGHTS") or None,
        weights_file=Path(file) if file else None,
        weights_drive=values.get("PTX_WEIGHTS_DRIVE") or None,
        weights_url=values.get("PTX_WEIGHTS_URL") or None,
        engine=choose_engine(values["PTX_ENGINE"]) if values.get("PTX_ENGINE") else None,
        feedback_dir=Path(feedback) if feedback else None,
        public_host=_truth("PTX_PUBLIC_HOST", values.get("PTX_PUBLIC_HOST", "")),
        audit_folder=Path(folder) if folder else None,
        audit_key=values.get("PTX_AUDIT_KEY", ""),
        audit_keeping=Keeping(
            file_bytes=(_count(values, "PTX_AUDIT_FILE_MB") or 10) * 1_000_000,
            file_days=_count(values, "PTX_AUDIT_FILE_DAYS") or 30,
            days=_count(values, "PTX_AUDIT_KEEP_DAYS"),
        ),
        role_claim=values.get("PTX_ROLE_CLAIM", "").strip() or "roles",
        reader_roles=_names(values.get("PTX_READER_ROLE", "")) or ("reader",),
        operator_roles=_names(values.get("PTX_OPERATOR_ROLE", "")) or ("operator",),
        idle_minutes=_minutes(values, "PTX_IDLE_MINUTES", 15),
    )


def pacs_is_set(values: Mapping[str, str]) -> bool:
    """Whether the operator has set an archive. Nothing of it is imported otherwise."""
    return any(value for name, value in values.items() if name == PACS or name.startswith(PACS_START))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _minutes(values: Mapping[str, str], name: str, default: float) -> float:
    text = values.get(name, "").strip()
    if not text:
        return default
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0
    if not 0 < minutes <= 24 * 60:
        raise SettingsError("SETTING_INVALID", f"{name} must be a number of minutes above 0, at most a day.")
    return minutes


def _count(values: Mapping[str, str], name: str) -> int | None:
    text = values.get(name, "").strip()
    if not text:
        return None
    if not (text.isdecimal() and int(text)):
        raise SettingsError("SETTING_INVALID", f"{name} must be a whole number above 0.")
    return int(text)


def _truth(name: str, text: str) -> bool | None:
    if not text.strip():
        return None
    try:
        return _TRUTH[text.strip().lower()]
    except KeyError:
        raise SettingsError("SETTING_INVALID", f"{name} must be true or false.") from None
