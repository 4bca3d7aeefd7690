"""Training data, training and report of the film check."""

import shutil

import numpy as np
import pytest

from ptx_app.__main__ import main
from ptx_app.errors import SettingsError
from ptx_app.evaluation.metrics import wilson
from ptx_app.experiments.film_check import learn as learning
from ptx_app.experiments.film_check.evaluate import CheckRow, check_page
from ptx_app.experiments.film_check.learn import Lesson, find_pictures, learn, train_and_measure
from ptx_app.experiments.film_check.pictures import PICTURE_SIDE, lay_wrong, no_film, vary_film, vary_other
from ptx_app.film.check.classifier import FEATURES, WEIGHTS_PATH, load_layers, logits
from ptx_app.weights.verify import digest


@pytest.fixture
def films():
    return list(np.random.default_rng(0).random((3, PICTURE_SIDE, PICTURE_SIDE), np.float32))


@pytest.mark.parametrize("seed", range(60))
def test_made_pictures_are_pictures_and_repeatable(films, seed):
    for make in (vary_film, vary_other, lay_wrong):
        first, again = (make(films[0].copy(), np.random.default_rng(seed)) for _ in range(2))
        assert np.array_equal(first, again)
        assert first.shape == (PICTURE_SIDE, PICTURE_SIDE)
        assert first.dtype == np.float32
        assert 0 <= first.min() <= first.max() <= 1
    picture = no_film(films, np.random.default_rng(seed))
    assert picture.shape == (PICTURE_SIDE, PICTURE_SIDE)
    assert 0 <= picture.min() <= picture.max() <= 1


def test_changing_a_film_does_not_modify_it(films):
    kept = films[0].copy()
    for seed in range(40):
        vary_film(films[0], np.random.default_rng(seed))
        no_film(films, np.random.default_rng(seed))
    assert np.array_equal(films[0], kept)


def test_a_film_laid_wrong_is_never_the_film(films):
    for seed in range(40):
        assert not np.array_equal(lay_wrong(films[0], np.random.default_rng(seed)), films[0])


def test_separable_pictures_are_learned():
    draw = np.random.default_rng(1)
    upright = draw.random(1200) < 0.5
    values = draw.normal(0, 1, (1200, FEATURES)).astype(np.float32)
    values[:, :256] += np.where(upright, 0.5, -0.5)[:, None].astype(np.float32)
    layers = learn([Lesson(values[:800], upright[:800]), Lesson(values[800:1000], upright[800:1000])])
    hidden = values[1000:][None]
    for weight, bias in layers[:-1]:
        hidden = np.maximum(hidden @ weight + bias[:, None], 0)
    answers = (hidden @ layers[-1][0] + layers[-1][1][:, None])[..., 0].mean(0)
    assert ((answers > 0) == upright[1000:]).mean() > 0.95
    assert logits(layers, draw.random((2, 64, 64), np.float32)).shape == (2,)
    assert all(np.array_equal(a, a.astype(np.float16).astype(np.float32)) for layer in layers for a in layer)


def test_wilson_as_published():
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson(0, 0) == (0, 1)


def test_the_page_names_what_went_wrong():
    text = check_page(
        [CheckRow("films", False, 1, 200, None, ("film-7 (not a film)",)), CheckRow("turned", True, 9, 10, 8, ())],
        "ab" * 32,
    )
    assert "sha256 `abababababababab…`" in text
    assert "| films | accepted | 1 of 200 | 0.5% (0.1% to 2.8%) |  | film-7 (not a film) |" in text
    assert "| turned | rejected | 9 of 10 | 90.0% (59.6% to 98.2%) | 8 of 10 |  |" in text


def test_weights_that_are_kept_are_measured_and_not_written(tmp_path, monkeypatch):
    weights, report, measured = tmp_path / "check.safetensors", tmp_path / "check.md", []
    shutil.copy(WEIGHTS_PATH, weights)
    monkeypatch.setattr(learning, "find_pictures", lambda _: None)
    monkeypatch.setattr(learning, "learn_all", lambda *_: ("other layers", "splits"))
    monkeypatch.setattr(learning, "measure_check", lambda layers, *_: measured.append(layers) or [])
    train_and_measure(tmp_path, weights, report, keep=True)
    assert weights.read_bytes() == WEIGHTS_PATH.read_bytes()
    assert digest(WEIGHTS_PATH)[:16] in report.read_text()
    (layers,) = measured
    assert np.array_equal(layers[0][0], load_layers(WEIGHTS_PATH)[0][0])


def test_missing_data_is_a_clear_error(tmp_path, capsys):
    with pytest.raises(SettingsError) as error:
        find_pictures(tmp_path)
    assert error.value.code == "DATA_MISSING"
    assert (
        main(["film-check", "--data", str(tmp_path), "--weights", str(tmp_path / "w"), "--report", str(tmp_path / "r")])
        == 1
    )
    assert "DATA_MISSING" in capsys.readouterr().err
