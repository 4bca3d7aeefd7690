"""A reader's answers: as data, as a prepared folder that the trainer reads, and in the operator's folder."""

import base64
import csv
import io
import os
import shutil
import threading
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from ptx_app.__main__ import main
from ptx_app.data.index import READERS, MaskKind, read_index
from ptx_app.data.split import answered_films, validation_films
from ptx_app.errors import ContourError, SettingsError
from ptx_app.evaluation.known_films import prepared_films
from ptx_app.film.radiograph import View
from ptx_app.inference.decide import Finding, Side, Thresholds
from ptx_app.model.manifest import load_manifest
from ptx_app.output import feedback
from ptx_app.output.feedback import ANSWERS, AnsweredFilm, FeedbackFolder, PackedMask, Reading, training_zip
from ptx_app.output.setting import Setting
from tests.support.films import simulated_film
from tests.support.made_folder import configuration, film_and_mask, prepared_folder, row, write_index

SHAPE = 61, 83  # no multiple of 8
WEIGHTS = load_manifest().entry()
POINT = WEIGHTS.operating_point()
SETTING = Setting.of(WEIGHTS, POINT, Thresholds.of(POINT), "made, cpu")


def mask_of(*box: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    if box:
        top, left, bottom, right = box
        mask[top:bottom, left:right] = True
    return mask


def found(mask: np.ndarray, *, flagged: bool = True) -> Finding:
    return Finding(flagged, 0.9 if flagged else 0.1, mask, (), Thresholds.of(POINT), mask.size)


def film_of(number: int, reading: Reading) -> AnsweredFilm:
    pixels = np.random.default_rng(number).random(SHAPE, np.float32)
    return AnsweredFilm(pixels, View.PA, reading)


def unpacked(data: bytes, folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        archive.extractall(folder)
    return folder


def answers_of(folder: Path) -> list[dict[str, str]]:
    with (folder / ANSWERS).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


DRAWN = mask_of(5, 60, 40, 80)
MODELS = mask_of(10, 10, 20, 30)
READINGS = {
    "drawn": Reading.contour(PackedMask.of(DRAWN), (Side.LEFT,), found(MODELS), SETTING),
    "erased": Reading.contour(PackedMask.of(mask_of()), (), found(MODELS), SETTING),
    "agreed": Reading.agree(found(MODELS), SETTING),
    "agreed, nothing there": Reading.agree(found(mask_of(), flagged=False), SETTING),
    "agreed, no outline": Reading.agree(found(mask_of()), SETTING),
    "false alarm": Reading.disagree(found(MODELS), SETTING),
    "missed": Reading.disagree(found(mask_of(), flagged=False), SETTING),
}
KINDS = {
    "drawn": (True, MaskKind.READER, DRAWN),
    "erased": (False, MaskKind.READER, None),
    "agreed": (True, MaskKind.READER_AGREED, MODELS),
    "agreed, nothing there": (False, MaskKind.READER, None),
    "agreed, no outline": (True, MaskKind.READER_LABEL, None),
    "false alarm": (False, MaskKind.READER, None),
    "missed": (True, MaskKind.READER_LABEL, None),
}


def test_a_zip_is_a_prepared_folder_with_each_answer(tmp_path):
    films = {what: film_of(number, reading) for number, (what, reading) in enumerate(READINGS.items())}
    folder = unpacked(training_zip(films.values()), tmp_path)
    index = {film.image_id: film for film in read_index(folder)}
    assert len(index) == len(films)
    for what, (positive, kind, mask) in KINDS.items():
        row = index[films[what].name()]
        assert (row.positive, row.mask_kind, row.split, row.patient) == (positive, kind, "train", None), what
        (known,) = prepared_films([row])
        small = cv2.resize(films[what].pixels, (512, 512), interpolation=cv2.INTER_AREA)
        assert np.abs(known.pixels - small).mean() < 0.05
        if mask is None:
            assert row.mask is None
            assert not known.truth.any()
        else:
            assert np.array_equal(known.truth, mask)
        assert known.outlined is (kind is MaskKind.READER), what
    assert {row["contour"] for row in answers_of(folder)} == {"reader", "model", ""}
    assert {row["weights_sha256"] for row in answers_of(folder)} == {WEIGHTS.sha256}


def test_no_answer_is_ever_taken_for_an_experts(tmp_path):
    folder = unpacked(training_zip(film_of(*each) for each in enumerate(READINGS.values())), tmp_path)
    index = read_index(folder)
    assert {film.mask_kind for film in index} == READERS
    assert len(answered_films(index)) == len(index)
    with pytest.raises(SettingsError, match="--labels reader"):
        validation_films(index)


def test_a_film_answered_twice_is_in_the_zip_once_with_its_last_answer(tmp_path):
    first, last = film_of(1, READINGS["drawn"]), film_of(1, READINGS["false alarm"])
    folder = unpacked(training_zip([first, last]), tmp_path)
    (film,) = read_index(folder)
    assert not film.positive
    assert len(list(folder.rglob("*.*"))) == 3, "index, answers, image: no mask is left"


def test_the_name_is_of_the_pixels_alone():
    film = film_of(1, READINGS["drawn"])
    assert film.name() == film_of(1, READINGS["missed"]).name()
    other = film.pixels.copy()
    other[0, 0] = 1 - other[0, 0]
    assert AnsweredFilm(other, View.PA, film.reading).name() != film.name()
    assert AnsweredFilm(film.pixels.T, View.PA, film.reading).name() != film.name()


def test_a_mask_survives_the_way_through_the_browser():
    mask = np.random.default_rng(3).random(SHAPE) > 0.5
    packed = PackedMask.of(mask)
    assert np.array_equal(packed.mask(), mask)
    assert np.array_equal(PackedMask.received(packed.text(), SHAPE).mask(), mask)


BITS = np.packbits(DRAWN).tobytes()


@pytest.mark.parametrize(
    "sent",
    [
        None,
        7,
        "",
        "no base64!",
        base64.b64encode(b"no deflate").decode(),
        base64.b64encode(zlib.compress(BITS[:-1])).decode(),
        base64.b64encode(zlib.compress(BITS + b"x")).decode(),
        base64.b64encode(zlib.compress(BITS)[:-3]).decode(),
        base64.b64encode(zlib.compress(bytes(1 << 24), 9)).decode(),
        "A" * (1 << 20),
    ],
)
def test_what_is_no_mask_of_the_film_is_refused_before_it_is_unpacked(sent):
    with pytest.raises(ContourError) as raised:
        PackedMask.received(sent, SHAPE)
    assert raised.value.code == "CONTOUR_INVALID"


def test_the_operators_folder_has_the_last_answer_of_each_film_and_the_course(tmp_path):
    folder = FeedbackFolder(tmp_path / "new" / "folder")
    folder.save(film_of(1, READINGS["drawn"]))
    folder.save(film_of(2, READINGS["missed"]))
    FeedbackFolder(tmp_path / "new" / "folder").save(film_of(1, READINGS["agreed"]))
    where = tmp_path / "new" / "folder"
    films = {film.image_id: film for film in read_index(where)}
    assert films[film_of(1, READINGS["agreed"]).name()].mask_kind is MaskKind.READER_AGREED
    assert [row["answer"] for row in answers_of(where)] == ["contour", "disagree", "agree"]
    folder.save(film_of(1, READINGS["false alarm"]))
    assert not list((where / "masks").iterdir())
    folder.withdraw(film_of(1, READINGS["false alarm"]))
    (left,) = read_index(where)
    assert left.image_id == film_of(2, READINGS["missed"]).name()
    assert [path.stem for path in (where / "images").iterdir()] == [left.image_id]
    assert [row["answer"] for row in answers_of(where)][-1] == "withdrawn"


def test_answers_of_many_readers_at_once_are_all_there(tmp_path):
    def answer(number: int) -> None:
        FeedbackFolder(tmp_path).save(film_of(number, READINGS["drawn"]))

    threads = [threading.Thread(target=answer, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_index(tmp_path)) == len(answers_of(tmp_path)) == 12
    assert all(film.mask and film.mask.exists() and film.image.exists() for film in read_index(tmp_path))
    assert not list(tmp_path.rglob("*.part"))


def test_a_failed_write_leaves_the_folder_as_it_was(tmp_path, monkeypatch):
    folder = FeedbackFolder(tmp_path)
    folder.save(film_of(1, READINGS["drawn"]))
    before = (tmp_path / "index.csv").read_bytes()

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(feedback.os, "fsync", full)
    with pytest.raises(SettingsError) as raised:
        folder.save(film_of(2, READINGS["drawn"]))
    assert raised.value.code == "FEEDBACK_UNWRITABLE"
    assert (tmp_path / "index.csv").read_bytes() == before
    assert len(answers_of(tmp_path)) == 1


@pytest.mark.parametrize("whole", range(4))  # of the image, the mask, the index and the answers
def test_no_file_is_half_written_whichever_write_fails(whole, tmp_path, monkeypatch):
    folder = FeedbackFolder(tmp_path)
    folder.save(film_of(1, READINGS["drawn"]))
    before, calls, fsync = (tmp_path / ANSWERS).read_bytes(), [], os.fsync

    def full_after(number: int) -> None:
        calls.append(number)
        if len(calls) > whole:
            raise OSError("disk full")
        fsync(number)

    monkeypatch.setattr(feedback.os, "fsync", full_after)
    with pytest.raises(SettingsError):
        folder.save(film_of(2, READINGS["drawn"]))
    assert len(calls) == whole + 1
    assert (tmp_path / ANSWERS).read_bytes() == before
    monkeypatch.setattr(feedback.os, "fsync", fsync)
    folder.save(film_of(2, READINGS["drawn"]))
    assert [answer["answer"] for answer in answers_of(tmp_path)] == ["contour", "contour"]
    assert (tmp_path / ANSWERS).read_bytes().startswith(before)


def test_answers_do_not_fill_the_disk_and_can_be_taken_back_from_a_full_one(tmp_path, monkeypatch):
    folder = FeedbackFolder(tmp_path)
    folder.save(film_of(1, READINGS["drawn"]))
    little = shutil.disk_usage(tmp_path)._replace(free=100 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: little)
    with pytest.raises(SettingsError) as raised:
        folder.save(film_of(2, READINGS["drawn"]))
    assert raised.value.code == "FEEDBACK_UNWRITABLE"
    assert len(read_index(tmp_path)) == len(list((tmp_path / "images").iterdir())) == 1
    folder.withdraw(film_of(1, READINGS["drawn"]))
    assert not list((tmp_path / "images").iterdir())


def test_a_folder_that_cannot_be_made_is_said_so(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingsError) as raised:
        FeedbackFolder(tmp_path / "file").save(film_of(1, READINGS["drawn"]))
    assert raised.value.code == "FEEDBACK_UNWRITABLE"


@pytest.mark.thorough
def test_evaluate_reads_the_answers_and_says_whose_they_are(tmp_path):
    film = cv2.resize(simulated_film(), (400, 440), interpolation=cv2.INTER_AREA)
    drawn = np.zeros(film.shape, bool)
    drawn[60:200, 320:350] = True
    positive = Reading.contour(PackedMask.of(drawn), (Side.LEFT,), found(drawn), SETTING)
    noise = np.asarray(film_and_mask(1, positive=False, side=256)[0] / 255, np.float32)
    mirrored = np.ascontiguousarray(film[:, ::-1])
    films = [
        AnsweredFilm(film, View.PA, positive),
        AnsweredFilm(mirrored, View.PA, Reading.disagree(found(drawn, flagged=False), SETTING)),
        AnsweredFilm(film[8:], View.PA, Reading.agree(found(drawn[8:]), SETTING)),
        AnsweredFilm(noise, View.AP, Reading.disagree(found(drawn), SETTING)),
    ]
    folder = unpacked(training_zip(films), tmp_path / "films")
    words = ["--data", str(folder), "--output", str(tmp_path / "report"), "--hard-cases", "0"]
    assert main(["evaluate", *words]) != 0, "readers' answers passed for expert labels"
    assert main(["evaluate", *words, "--labels", "reader", "--pictures", str(tmp_path / "pictures")]) == 0
    text = (tmp_path / "report" / "evaluation.md").read_text(encoding="utf-8")
    assert "4 films labelled by readers of the page, 3 with a pneumothorax" in text
    assert "where a reader drew one: on 1 of the films" in text
    assert "expert-labelled" not in text
    assert "## Goals" not in text
    assert "nan" not in text


@pytest.mark.filterwarnings("ignore")
def test_answers_are_trained_on_beside_expert_films_and_never_held_out(tmp_path):
    from ptx_app.training.configuration import write_configuration
    from ptx_app.training.dataset import training_films

    (tmp_path / "expert").mkdir()
    data = prepared_folder(tmp_path / "expert")
    answers = unpacked(training_zip(film_of(*each) for each in enumerate(READINGS.values())), tmp_path / "answers")
    wanted = configuration(schedule={"films": 48}, training={"precision": "fp32", "validate_every": 48})
    alone, held_out = training_films(wanted, data)
    trained, still_held_out = training_films(wanted, data, [answers])
    assert still_held_out == held_out
    assert trained == [*alone, *read_index(answers)]
    with pytest.raises(SettingsError) as raised:
        training_films(wanted, data, [answers, answers])
    assert raised.value.code == "FILM_IN_TWO_FOLDERS"

    write_configuration(wanted, tmp_path / "tiny.toml")
    words = [str(tmp_path / "tiny.toml"), "--data", str(data), "--runs", str(tmp_path / "runs")]
    assert main(["train", *words, "--also", str(answers)]) == 0
    assert (tmp_path / "runs" / "tiny" / "best.safetensors").exists()


def test_one_patient_cannot_be_trained_on_in_one_folder_and_measured_in_another(tmp_path):
    from ptx_app.training.dataset import training_films

    for name, split in (("first", "train"), ("second", "val")):
        (tmp_path / name).mkdir()
        write_index(tmp_path / name, [row(name, split=split, patient_id="one")])
    with pytest.raises(SettingsError) as raised:
        training_films(configuration(), tmp_path / "first", [tmp_path / "second"])
    assert raised.value.code == "PATIENT_IN_TWO_SPLITS"
