"""The operator's settings, all read here, from the environment or from Streamlit's secrets."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ptx_app.errors import SettingsError
from ptx_app.model.engine import Engine, choose_engine
from ptx_app.model.manifest import Source
from ptx_app.weights.fetch import named_sources


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
    """

    weights: str | None = None
    weights_file: Path | None = None
    weights_drive: str | None = None
    weights_url: str | None = None
    engine: Engine | None = None
    feedback_dir: Path | None = None
    public_host: bool | None = None

    @property
    def weights_sources(self) -> tuple[Source, ...]:
        """The sources that the operator has set for the weights. Raises WeightsError as `named_sources`."""
        return named_sources(file=self.weights_file, drive=self.weights_drive, url=self.weights_url)


_TRUTH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def read_settings(values: Mapping[str, str]) -> Settings:
    """Make the settings from a mapping of name to text. Missing names keep their default.

    Raises:
        SettingsError: SETTING_INVALID if a text cannot be read, or as `choose_engine`.
    """
    file, feedback = values.get("PTX_WEIGHTS_FILE"), values.get("PTX_FEEDBACK_DIR")
    return Settings(
        weights=values.get("PTX_WEIGHTS") or None,
        weights_file=Path(file) if file else None,
        weights_drive=values.get("PTX_WEIGHTS_DRIVE") or None,
        weights_url=values.get("PTX_WEIGHTS_URL") or None,
        engine=choose_engine(values["PTX_ENGINE"]) if values.get("PTX_ENGINE") else None,
        feedback_dir=Path(feedback) if feedback else None,
        public_host=_truth("PTX_PUBLIC_HOST", values.get("PTX_PUBLIC_HOST", "")),
    )


def _truth(name: str, text: str) -> bool | None:
    if not text.strip():
        return None
    try:
        return _TRUTH[text.strip().lower()]
    except KeyError:
        raise SettingsError("SETTING_INVALID", f"{name} must be true or false.") from None
