"""Zip archives of films: what is taken out, and what is refused."""

import io
import zipfile

import pytest

from ptx_app.errors import FilmError
from ptx_app.film import zip_archive
from ptx_app.film.limits import Limits
from ptx_app.film.zip_archive import is_archive, members


def zipped(files: dict[str, bytes], **options) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, **options) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return target.getvalue()


def code_of(work) -> str:
    with pytest.raises(FilmError) as refused:
        work()
    return refused.value.code


def test_files_come_in_order_without_folders_hidden_files_and_notes():
    data = zipped(
        {"a/b/1.dcm": b"one", "a/": b"", "a/.DS_Store": b"", "__MACOSX/1.dcm": b"", "DICOMDIR": b"", "2": b"two"}
    )
    assert is_archive(data)
    assert [(member.name, member.data()) for member in members(data)] == [("1.dcm", b"one"), ("2", b"two")]


@pytest.mark.parametrize("data", [b"", b"\x00" * 132 + b"DICM", b"\x89PNG", b"\xff\xd8\xff"])
def test_films_are_no_archives(data):
    assert not is_archive(data)


def test_a_path_that_leads_elsewhere_is_only_a_name():
    found = members(zipped({"../../etc/passwd": b"x", "C:\\films\\1.dcm": b"y"}))
    assert [member.name for member in found] == ["passwd", "1.dcm"]


@pytest.mark.parametrize(("size", "fits"), [(1000, True), (1001, False)])
def test_a_member_has_the_same_limit_as_a_file(size, fits):
    member = members(zipped({"a": b"\0" * size}), Limits(file_bytes=1000))[0]
    if fits:
        assert len(member.data()) == size
    else:
        assert code_of(member.data) == "TOO_LARGE"


def test_a_false_size_in_the_list_does_not_lift_the_limit():
    data = bytearray(zipped({"a": b"\0" * 100_000}))
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (10).to_bytes(4, "little")
    member = members(bytes(data), Limits(file_bytes=1000))[0]
    with pytest.raises(FilmError):
        member.data()


@pytest.mark.parametrize(("count", "fits"), [(3, True), (4, False)])
def test_the_number_of_films_is_limited(monkeypatch, count, fits):
    monkeypatch.setattr(zip_archive, "MOST_MEMBERS", 3)
    data = zipped({str(number): b"x" for number in range(count)})
    if fits:
        assert len(members(data)) == count
    else:
        assert code_of(lambda: members(data)) == "ARCHIVE_TOO_LARGE"


def test_a_long_list_is_refused_before_it_is_read(monkeypatch):
    data = zipped({f"film-{number}": b"" for number in range(5)})
    monkeypatch.setattr(zip_archive, "_MOST_LISTED", 100)
    monkeypatch.setattr(zip_archive.zipfile, "ZipFile", lambda *_: pytest.fail("the list was read"))
    assert code_of(lambda: members(data)) == "ARCHIVE_TOO_LARGE"


@pytest.mark.parametrize(
    "data",
    [b"PK\x03\x04", b"PK\x03\x04" + b"\0" * 100, zipped({"a": b"x"})[:-30]],
    ids=["begun", "zeros", "cut"],  # a zip has the time in it, and the workers must agree on the names of tests
)
def test_a_damaged_archive_is_told(data):
    assert code_of(lambda: members(data)) == "ARCHIVE_DAMAGED"


def test_a_damaged_member_is_told_alone():
    data = bytearray(zipped({"a": bytes(range(256)) * 8, "b": b"fine"}))
    data[40:60] = b"\xff" * 20
    first, second = members(bytes(data))
    assert code_of(first.data) == "ARCHIVE_DAMAGED"
    assert second.data() == b"fine"


def test_an_empty_archive_and_one_of_folders_are_told():
    assert code_of(lambda: members(zipped({}))) == "ARCHIVE_EMPTY"
    assert code_of(lambda: members(zipped({"a/": b""}))) == "ARCHIVE_EMPTY"


def test_a_password_is_told():
    data = bytearray(zipped({"a": b"x"}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    assert code_of(members(bytes(data))[0].data) == "ARCHIVE_ENCRYPTED"
