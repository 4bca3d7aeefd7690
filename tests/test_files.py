"""Which files are films, in which order, and how their results are named."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptx_app.errors import SettingsError
from ptx_app.film.files import stems, walk


def test_walk_goes_in_order_and_says_what_is_missing(tmp_path):
    for name in ("b", "a", "c/d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in walk([tmp_path])] == ["a", "b", "d"]
    with pytest.raises(SettingsError):
        list(walk([tmp_path / "missing"]))


def test_stems_are_unique():
    files = [Path(name) for name in ("x/a.dcm", "y/a.png", "a", "1.2.840.5", "a-2.jpg")]
    assert stems(files) == ["a", "a-2", "a-3", "1.2.840.5", "a-2-2"]
    assert stems([Path("a.dcm")], taken=["a"]) == ["a-2"]


@given(st.lists(st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1), max_size=8))
def test_long_stems_are_cut_between_characters_and_are_unique(names):
    named = stems([Path("x", name * 80) for name in names if name not in (".", "..")])
    assert len(set(named)) == len(named)
    assert all(len(os.fsencode(name)) <= 204 and name.encode() for name in named)
