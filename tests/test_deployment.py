"""docs/deployment.md names what is there: files, variables, versions, and the settings of proxy and container."""

import re
from dataclasses import fields

import pytest

from ptx_app.model.manifest import ROOT
from ptx_app.settings import Settings

TEXT = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")


def test_every_link_leads_somewhere():
    for link in re.findall(r"\]\(([^)]+)\)", TEXT):
        path, _, heading = link.partition("#")
        target = ROOT / "docs" / path if path else ROOT / "docs/deployment.md"
        assert target.exists(), link
        titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        slugs = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
        assert not heading or heading in slugs, link


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:hosts|tests|\.ci|docs)/[\w./-]+)`", TEXT))))
def test_every_file_that_it_names_is_there(path):
    assert (ROOT / path).exists()


def test_every_setting_that_it_names_is_read():
    known = {f"PTX_{field.name.upper()}" for field in fields(Settings)}
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "ptx_app").rglob("*.py"))
    named = set(re.findall(r"\bPTX_[A-Z_]+", TEXT))
    assert named
    assert {name for name in named if name not in known and f'"{name}"' not in code} == set()


def test_versions_to_add_are_the_pinned_ones():
    pins = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()
    dockerfile = (ROOT / "hosts/container/Dockerfile").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w-]+==[\w.]+", TEXT + dockerfile))
    assert len(named) == 3
    assert named <= set(pins)


def test_sizes_are_those_of_proxy_and_server():
    proxy = (ROOT / "hosts/proxy/nginx.conf").read_text(encoding="utf-8")
    (limit,) = re.findall(r"Uploads are limited to (\d+) MB", TEXT)
    assert f"client_max_body_size {limit}m;" in proxy
    settings = (ROOT / ".streamlit/config.toml").read_text(encoding="utf-8")
    (kept,) = re.findall(r"or (\d+) s after the page is closed", TEXT)
    assert f"disconnectedSessionTTL = {kept}" in settings


def test_the_containers_user_is_the_same_everywhere():
    dockerfile = (ROOT / "hosts/container/Dockerfile").read_text(encoding="utf-8")
    (user,) = re.findall(r"^USER (\d+):", dockerfile, re.MULTILINE)
    assert set(re.findall(r"user (?:is )?(\d+)", TEXT)) == {user}
    (base,) = re.findall(r"library/(python:\S+)", dockerfile)
    assert f"`{base}` itself" in TEXT
