"""The check of the picture: what it accepts, what it rejects and why, and that it always gives an answer."""

import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file

from ptx_app.errors import WeightsError
from ptx_app.film import read_film
from ptx_app.film.check.classifier import FEATURES, THUMBNAIL_SIDE, WEIGHTS_PATH, classify, load_layers, logits
from ptx_app.film.check.frontal import check
from ptx_app.film.examples import EXAMPLES
from ptx_app.film.radiograph import FilmNote, Radiograph
from tests.support.films import real_dicom


@pytest.fixture(scope="module")
def film():
    """A real film from a package, (1955, 1841)."""
    return read_film(real_dicom())


def codes(pixels):
    return [rejection.code for rejection in check(Radiograph(np.asarray(pixels, np.float32)))]


def lettered_page():
    page = np.full((600, 500), 240, np.uint8)
    for line in range(40, 600, 30):
        cv2.putText(page, "The quick brown fox jumps", (20, line), cv2.FONT_HERSHEY_SIMPLEX, 1, 20, 2)
    return page / 255


def slice_of_a_body():
    picture = np.zeros((512, 512), np.float32)
    cv2.ellipse(picture, (256, 256), (220, 160), 0, 0, 360, 0.5, -1)
    cv2.circle(picture, (256, 350), 35, 1.0, -1)
    return picture


OTHER_PICTURES = {
    "noise": np.random.default_rng(0).random((300, 300)),
    "ramp": np.linspace(0, 1, 400)[None].repeat(300, 0),
    "spot": np.hypot(*np.mgrid[-1:1:200j, -1:1:200j]) / 1.5,
    "chequers": np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((40, 40))),
    "letters": lettered_page(),
    "slice": slice_of_a_body(),
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_examples_are_films(example):
    assert check(example.load(read_film)) == ()


@pytest.mark.parametrize("name", OTHER_PICTURES)
def test_what_is_no_film_is_refused(name):
    assert codes(OTHER_PICTURES[name]) == ["NOT_A_CHEST_FILM"]


@pytest.mark.parametrize(
    ("quarters", "words"), [(-1, "90 degrees clockwise"), (2, "180 degrees"), (1, "90 degrees anticlockwise")]
)
def test_a_rotated_film_gets_its_rotation_in_the_message(film, quarters, words):
    (rejection,) = check(Radiograph(np.rot90(film.pixels, quarters)))
    assert rejection.code == "TURNED_FILM"
    assert words in rejection.message


def test_an_inverted_film_is_rejected_as_inverted(film):
    assert codes(1 - film.pixels) == ["INVERTED_FILM"]


def test_an_inverted_and_rotated_film_is_rejected_for_both(film):
    assert codes(np.rot90(1 - film.pixels, 2)) == ["INVERTED_FILM", "TURNED_FILM"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda p: p[:, ::-1], id="mirrored"),
        pytest.param(lambda p: p**2, id="dark"),
        pytest.param(lambda p: p**0.5, id="light"),
        pytest.param(lambda p: 0.3 + 0.1 * p, id="flat"),
        pytest.param(lambda p: np.clip(p * 1.5 - 0.25, 0, 1), id="hard"),
        pytest.param(lambda p: p[150:-150, 150:-150], id="cropped"),
        pytest.param(lambda p: np.pad(p, 200), id="black borders"),
        pytest.param(lambda p: np.pad(p, ((0, 0), (300, 300)), constant_values=1.0), id="white borders"),
        pytest.param(lambda p: cv2.resize(p, (256, 256)), id="small"),
        pytest.param(lambda p: cv2.resize(p, (1000, 1300)), id="stretched"),
    ],
)
def test_a_film_stays_a_film(film, change):
    assert codes(change(film.pixels)) == []


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_a_blank_picture_is_refused(grey):
    faint = grey + np.random.default_rng(0).normal(0, 0.01, (400, 300))
    assert codes(np.full((100, 80), grey)) == codes(faint) == ["BLANK_PICTURE"]


def test_two_films_side_by_side_are_none(film):
    assert codes(np.hstack([film.pixels, film.pixels, film.pixels])) == ["NOT_A_CHEST_FILM"]


def test_the_header_is_heard_first(film):
    header = FilmNote("WRONG_MODALITY", "The header says so.")
    both = check(replace(film, pixels=1 - film.pixels, rejections=(header,)))
    assert [rejection.code for rejection in both] == ["WRONG_MODALITY", "INVERTED_FILM"]


def test_no_reason_is_given_twice():
    reader = FilmNote("BLANK_PICTURE", "The reader's message.")
    assert check(Radiograph(np.zeros((64, 64), np.float32), rejections=(reader,))) == (reader,)


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=90),
        elements=st.floats(width=32),
        fill=st.floats(width=32),
    )
)
def test_every_picture_gets_an_answer(pixels):
    """Even pictures with values outside [0, 1], infinite values or NaN."""
    found = codes(pixels)
    assert set(found) <= {"BLANK_PICTURE", "NOT_A_CHEST_FILM", "INVERTED_FILM", "TURNED_FILM"}
    assert codes(pixels) == found


@pytest.mark.parametrize("seed", range(5))
def test_a_mirror_changes_nothing(seed):
    thumbnail = np.random.default_rng(seed).random((1, THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.float32)
    layers = load_layers(WEIGHTS_PATH)
    assert logits(layers, thumbnail) == pytest.approx(logits(layers, thumbnail[:, :, ::-1]), abs=1e-4)


def test_a_film_may_come_in_any_layout(film):
    assert classify(np.asfortranarray(film.pixels)).film
    assert classify(film.pixels[::2, ::2].astype(np.float64)).film


@pytest.mark.parametrize("damage", ["missing", "noise", "another network", "a layer too few"])
def test_damaged_weights_are_a_clear_error(tmp_path, damage):
    path = tmp_path / "frontal-classifier.safetensors"
    stored = load_file(WEIGHTS_PATH)
    match damage:
        case "noise":
            path.write_bytes(WEIGHTS_PATH.read_bytes()[:1000])
        case "another network":
            save_file({name: values[:, 1:] for name, values in stored.items()}, path)
        case "a layer too few":
            save_file({name: values for name, values in stored.items() if name != "bias_0"}, path)
    with pytest.raises(WeightsError) as error:
        load_layers(path)
    assert error.value.code == "FRONTAL_CLASSIFIER_DAMAGED"


def test_the_weights_are_small_and_no_others():
    layers = load_layers(WEIGHTS_PATH)
    assert layers[0][0].shape[1] == FEATURES
    assert all(np.isfinite(values).all() for layer in layers for values in layer)
    assert WEIGHTS_PATH.stat().st_size < 300_000


def test_the_check_needs_nothing_of_the_training():
    heavy = "('torch', 'sklearn', 'matplotlib')"
    code = f"import sys, ptx_app.film.check.frontal; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_films_of_the_validation_set_are_taken(data_dir):
    index = np.genfromtxt(data_dir / "siim-512/index.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    paths = [data_dir / "siim-512" / row["image"] for row in index if row["split"] == "val"][::5]
    refused = [path.stem for path in paths if codes(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) / 255)]
    assert len(paths) > 50
    assert len(refused) <= 1


def test_dicom_films_are_taken(data_dir):
    cases = sorted((data_dir / "dicom-cases").glob("chest_*"))
    assert cases
    assert {case.name: check(read_film(case.read_bytes())) for case in cases} == {case.name: () for case in cases}


def test_the_rotated_dicom_film_gets_its_rotation_in_the_message(data_dir):
    film = read_film((data_dir / "dicom-cases/trap_rotated90_clockwise.dcm").read_bytes())
    (rejection,) = check(film)
    assert rejection.code == "TURNED_FILM"
    assert "90 degrees clockwise" in rejection.message


def test_pictures_of_other_things_are_refused(data_dir):
    paths = sorted((data_dir / "not-chest").iterdir())
    taken = [p.name for p in paths if not codes(cv2.imread(str(p), cv2.IMREAD_GRAYSCALE) / 255)]
    assert len(paths) == 40
    assert taken == []
