"""The operator's settings."""

from pathlib import Path

import pytest

from ptx_app.audit import Keeping
from ptx_app.errors import SettingsError
from ptx_app.model.manifest import Source
from ptx_app.settings import Settings, read_settings


def test_nothing_set_is_every_default():
    assert read_settings({}) == Settings()
    assert read_settings({"PTX_WEIGHTS": "", "PTX_PUBLIC_HOST": " "}) == Settings()


def test_each_setting_is_read():
    read = read_settings(
        {"PTX_WEIGHTS": "mine", "PTX_WEIGHTS_FILE": "/w.safetensors", "PTX_PUBLIC_HOST": "Yes", "OTHER": "ignored"}
    )
    assert read == Settings(weights="mine", weights_file=Path("/w.safetensors"), public_host=True)
    assert read.weights_sources == (Source(kind="file", location="/w.safetensors"),)


def test_a_text_that_is_neither_true_nor_false_is_reported():
    with pytest.raises(SettingsError, match="PTX_PUBLIC_HOST") as raised:
        read_settings({"PTX_PUBLIC_HOST": "perhaps"})
    assert raised.value.code == "SETTING_INVALID"


def test_the_audit_trails_settings_are_read_and_its_key_is_never_shown(tmp_path):
    key = "k" * 40
    named = {"PTX_AUDIT_FOLDER": str(tmp_path), "PTX_AUDIT_KEY": key, "PTX_AUDIT_FILE_MB": "3"}
    read = read_settings(named | {"PTX_AUDIT_FILE_DAYS": "7", "PTX_AUDIT_KEEP_DAYS": "365"})
    assert read.audit_keeping == Keeping(3_000_000, 7, 365)
    assert read.trail() is not None
    assert key not in repr(read)
    assert read_settings(named).audit_keeping == Keeping(3_000_000)
    assert read_settings({}).trail() is None


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many"])
def test_a_number_that_is_none_is_reported(text):
    with pytest.raises(SettingsError, match="PTX_AUDIT_KEEP_DAYS"):
        read_settings({"PTX_AUDIT_KEEP_DAYS": text})


def test_an_audit_trail_without_its_key_is_reported(tmp_path):
    with pytest.raises(SettingsError, match="PTX_AUDIT_KEY") as raised:
        read_settings({"PTX_AUDIT_FOLDER": str(tmp_path)}).trail()
    assert raised.value.code == "AUDIT_KEY_INVALID"
