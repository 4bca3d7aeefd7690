"""From DICOM films and run lengths to a prepared folder, and to training."""

import csv

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptx_app.__main__ import main
from ptx_app.data.index import INDEX_COLUMNS, read_index
from ptx_app.data.preparation import split_by_patient
from ptx_app.evaluation.known_films import dicom_films, prepared_films
from ptx_app.film import read_film
from ptx_app.film.radiograph import View
from tests.support.films import broken_dicom, ct_slice, dicom_of
from tests.support.made_folder import film_and_mask


def write_rows(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def challenge(tmp_path_factory):
    """Six films of four patients in the challenge's layout; also a slice, a broken file, and a file without a row."""
    folder, rows = tmp_path_factory.mktemp("challenge"), []
    for number in range(6):
        film, mask = film_and_mask(number, number % 2 == 0)
        (folder / f"1.{number}").mkdir()
        view = {"ViewPosition": "AP" if number == 1 else "PA"}
        (folder / f"1.{number}" / f"1.{number}.dcm").write_bytes(dicom_of(film / np.float32(255), **view))
        for half in np.split(mask, 2):  # two rows a film
            whole = np.zeros_like(mask)
            whole[: len(half)] = half
            part = whole if not rows or rows[-1][0] != f"1.{number}" else np.roll(whole, len(half), 0)
            edges = np.flatnonzero(np.diff(np.concatenate([[0], part.T.ravel() // 255, [0]]).astype(int)))
            rows.append((f"1.{number}", " ".join(map(str, np.diff(np.concatenate([[0], edges])))) or "-1"))
    for uid, data in (("2.1", ct_slice()), ("2.2", broken_dicom()), ("3.1", broken_dicom())):
        (folder / f"{uid}.dcm").write_bytes(data)
    write_rows(folder / "train-rle.csv", ["ImageId", " EncodedPixels"], [*rows, ("2.1", "-1"), ("2.2", "-1")])
    patients = [(f"1.{number}", f"nih-{number // 2}", "40", "F") for number in range(6)]
    write_rows(folder / "patients.csv", ["uid", "patient", "age", "sex"], patients)
    return folder


@pytest.fixture(scope="module")
def prepared(challenge, tmp_path_factory):
    output = tmp_path_factory.mktemp("prepared")
    words = [str(challenge), str(challenge / "train-rle.csv"), str(output)]
    assert main(["prepare", *words, "--patients", str(challenge / "patients.csv"), "--validation", "0.34"]) == 0
    return output


def test_every_readable_film_has_its_row(prepared):
    films = {film.image_id: film for film in read_index(prepared)}
    assert sorted(films) == [f"1.{number}" for number in range(6)]
    assert [films[f"1.{number}"].positive for number in range(6)] == [True, False] * 3
    assert films["1.1"].view is View.AP
    assert films["1.2"].patient == "nih-1"
    assert {film.split for film in films.values()} == {"train", "val"}
    assert sum(film.split == "val" for film in films.values()) == 2
    with (prepared / "index.csv").open() as file:
        assert tuple(next(csv.reader(file))) == INDEX_COLUMNS


def test_films_and_masks_are_what_the_reader_saw(prepared, challenge):
    for film in prepared_films(sorted(read_index(prepared), key=lambda film: film.image_id)):
        _, mask = film_and_mask(int(film.name.removeprefix("1.")), film.positive)
        assert film.pixels.shape == (512, 512)
        (file,) = challenge.rglob(f"{film.name}.dcm")
        expected = cv2.resize(read_film(file.read_bytes()).pixels, (512, 512), interpolation=cv2.INTER_AREA)
        assert np.abs(film.pixels - expected).mean() < 0.05
        if film.positive:
            assert (film.truth == (mask > 0)).all()


def test_unreadable_files_are_counted_and_not_named(challenge, tmp_path, capsys):
    assert main(["prepare", str(challenge), str(challenge / "train-rle.csv"), str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "6 films prepared, 3 of them positive" in said
    assert "left out: 1 (NO_RUN_LENGTHS)" in said
    assert "left out: 1 (WRONG_MODALITY)" in said
    assert "left out: 1 (DICOM_BROKEN)" in said
    assert "2.1" not in said


def test_a_folder_without_films_is_reported(tmp_path, challenge, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["prepare", str(tmp_path / "empty"), str(challenge / "train-rle.csv"), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith("FILMS_MISSING: ")


def test_a_table_of_patients_needs_its_columns(challenge, tmp_path, capsys):
    table = write_rows(tmp_path / "patients.csv", ["name"], [("a",)])
    words = [str(challenge), str(challenge / "train-rle.csv"), str(tmp_path / "out"), "--patients", str(table)]
    assert main(["prepare", *words]) == 1
    assert "PATIENTS_UNREADABLE: " in capsys.readouterr().err


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=40), st.floats(0, 0.9), st.integers(0, 3))
def test_no_patient_is_in_two_splits(patients, share, seed):
    rows = [{"image_id": str(number), "patient_id": f"p{patient}"} for number, patient in enumerate(patients)]
    split = split_by_patient(rows, share, seed)
    assert sorted(row["image_id"] for row in split) == sorted(row["image_id"] for row in rows)
    for patient in {row["patient_id"] for row in rows}:
        assert len({row["split"] for row in split if row["patient_id"] == patient}) == 1
    largest = max(patients.count(patient) for patient in patients)
    assert abs(sum(row["split"] == "val" for row in split) - share * len(rows)) <= largest


def test_the_challenges_own_films_are_read_with_their_truth(challenge, tmp_path):
    for uid in ("1.0", "1.1", "1.2"):
        (tmp_path / f"{uid}.dcm").write_bytes((challenge / uid / f"{uid}.dcm").read_bytes())
    (tmp_path / "0.9.dcm").write_bytes(b"")  # not in the table, so it is left alone
    (tmp_path / "train-rle.csv").write_bytes((challenge / "train-rle.csv").read_bytes())
    write_rows(tmp_path / "cases.csv", ["uid", "patient"], [("1.0", "7"), ("1.1", "")])
    film, negative, other = dicom_films(tmp_path)
    shades, mask = film_and_mask(0, positive=True)
    assert (film.name, film.group, film.positive, film.view) == ("1.0", "7", True, View.PA)
    assert np.abs(film.pixels - shades / 255).max() < 0.01
    assert (film.truth == (mask > 0)).all()
    assert film.outlined
    assert (negative.name, negative.group, negative.positive, negative.view) == ("1.1", "1.1", False, View.AP)
    assert negative.truth.shape == negative.pixels.shape
    assert not negative.truth.any()
    assert (other.group, other.positive) == ("1.2", True)
    (tmp_path / "cases.csv").unlink()
    assert [each.group for each in dicom_films(tmp_path)] == ["1.0", "1.1", "1.2"]
