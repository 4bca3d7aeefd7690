"""The operator's settings."""

from pathlib import Path

import pytest

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
