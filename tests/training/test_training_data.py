"""Which films train, in which order, and what they look like when they do."""

from collections import Counter
from itertools import islice

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptx_app.data.index import MaskKind, read_index
from ptx_app.data.split import hold_out
from ptx_app.data.store import FilmStore, as_pixels, resize_mask
from ptx_app.errors import SettingsError
from ptx_app.film.radiograph import View
from ptx_app.inference.prepare import prepare
from ptx_app.training.augmentation import Augmentation
from ptx_app.training.configuration import InputSection
from ptx_app.training.dataset import FilmDataset, training_films
from ptx_app.training.sampler import Draw, FallingShareSampler, stratum
from tests.support.made_folder import configuration, film_and_mask, prepared_folder, row, write_index


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepared_folder(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def films(folder):
    return [film for film in read_index(folder) if film.split == "train"]


def test_a_row_becomes_a_film(tmp_path):
    rows = [
        row("a", label="1", mask="a-mask.png", mask_kind="expert-matched", mask_confidence="0.8", view="AP"),
        row("b", patient_id="", view=""),
        row("c", label="1", mask_kind="image-label-only"),
    ]
    a, b, c = read_index(write_index(tmp_path, rows))
    assert (a.positive, a.mask_kind, a.mask, a.mask_confidence, a.view) == (
        True,
        MaskKind.MATCHED,
        tmp_path / "a-mask.png",
        0.8,
        View.AP,
    )
    assert (b.positive, b.patient, b.view, b.mask_confidence) == (False, None, View.UNKNOWN, 1.0)
    assert b.group != a.group
    assert b.mask_known
    assert not c.mask_known


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([row("a", patient_id="p"), row("b", patient_id="p", split="val")], "PATIENT_IN_TWO_SPLITS"),
        ([row("a", label="1")], "INDEX_INVALID"),
        ([row("a", mask_kind="guess")], "INDEX_INVALID"),
        ([row("a", label="perhaps")], "INDEX_INVALID"),
    ],
)
def test_a_wrong_index_is_refused(rows, code, tmp_path):
    with pytest.raises(SettingsError) as error:
        read_index(write_index(tmp_path, rows))
    assert error.value.code == code


def test_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"index\.csv"):
        read_index(tmp_path)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=20, max_size=40),
    st.integers(0, 5),
    st.integers(0, 3),
)
def test_whole_patients_are_held_out(tmp_path_factory, patients, positives, seed):
    rows = [
        row(str(number), patient_id=f"p{patient}", label=str(int(positive)), mask="m.png" if positive else "")
        for number, (patient, positive) in enumerate(patients)
    ]
    films = read_index(write_index(tmp_path_factory.mktemp("index"), rows))
    films_of = Counter(patient for patient, _ in patients)
    candidates = [positive for patient, positive in patients if films_of[patient] <= 5]
    if sum(candidates) < positives or all(candidates):
        with pytest.raises(SettingsError, match="too few"):
            hold_out(films, positives, 1, seed, most_a_patient=5)
        return
    trained, held = hold_out(films, positives, 1, seed, most_a_patient=5)
    assert not {film.patient for film in trained} & {film.patient for film in held}
    assert Counter(film.positive for film in held)[True] >= positives
    assert sorted(film.image_id for film in [*trained, *held]) == sorted(film.image_id for film in films)
    assert hold_out(films, positives, 1, seed, most_a_patient=5) == (trained, held)


def test_without_known_patients_each_film_is_a_patient(tmp_path):
    rows = [row(str(number), patient_id="", label=str(number % 2), mask="m.png" * (number % 2)) for number in range(20)]
    films = read_index(write_index(tmp_path, rows))
    trained, held = hold_out(films, 3, 4, 1)
    assert Counter(film.positive for film in held) == {True: 3, False: 4}
    assert len(trained) == 13
    (tmp_path / "some").mkdir()
    known = read_index(write_index(tmp_path / "some", [*rows, row("known", patient_id="p")]))
    assert [film.image_id for film in hold_out(known, 0, 1, 1)[1]] == ["known"]


def test_patients_of_many_films_are_left_to_training(tmp_path):
    rows = [row(f"many-{number}", patient_id="many") for number in range(4)]
    rows += [row(f"{number}", patient_id=f"p{number // 3}") for number in range(9)]
    rows += [row("a", patient_id="both", label="1", mask="m.png"), row("b", patient_id="both", mask_kind="expert")]
    films = read_index(write_index(tmp_path, rows))
    for seed in range(5):
        _, held = hold_out(films, 1, 7, seed, most_a_patient=3)
        assert "many" not in {film.patient for film in held}
        assert "both" in {film.patient for film in held}
    with pytest.raises(SettingsError, match="too few"):
        hold_out(films, 1, 11, 1, most_a_patient=3)


def test_films_that_are_not_upright_neither_train_nor_measure(folder, monkeypatch):
    trained, held = training_films(configuration(), folder)
    left_out = frozenset({trained[0].image_id, held[0].image_id})
    monkeypatch.setattr("ptx_app.training.dataset.excluded_films", lambda: left_out)
    again = [film.image_id for part in training_films(configuration(), folder) for film in part]
    assert not left_out & set(again)
    assert len(again) == len(trained) + len(held) - 2


def test_a_configuration_holds_out_training_films_only(folder):
    trained, held = training_films(configuration(), folder)
    assert {film.split for film in [*trained, *held]} == {"train"}
    assert all(film.mask_kind is MaskKind.EXPERT for film in held)


def dealer(films, share, dealt=None, weights=None):
    return FallingShareSampler(films, 8, 3, lambda: share, lambda: 64, weights or {}, dealt)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.8, 1.0])
def test_positives_have_the_requested_share(films, share):
    draws = [draw for batch in islice(dealer(films, share), 250) for draw in batch]
    assert np.mean([films[draw.film].positive for draw in draws]) == pytest.approx(share, abs=0.03)


def test_no_film_comes_twice_before_all_of_its_stratum_came(films):
    dealt = [draw.film for batch in islice(dealer(films, 0.5), 40) for draw in batch]
    for name in {stratum(film) for film in films}:
        own = [film for film in dealt if stratum(films[film]) == name]
        size = sum(stratum(film) == name for film in films)
        for start in range(0, len(own) - size + 1, size):
            assert len(set(own[start : start + size])) == size


def test_a_kind_with_weight_zero_is_not_dealt(films):
    draws = [draw for batch in islice(dealer(films, 0.8, weights={MaskKind.IMAGE_LABEL: 0.0}), 50) for draw in batch]
    assert {films[draw.film].mask_kind for draw in draws} == {MaskKind.EXPERT}


def test_dealing_resumes_where_it_stopped(films):
    whole = list(islice(dealer(films, 0.6), 12))
    dealt = Counter(stratum(films[draw.film]) for batch in whole[:5] for draw in batch)
    assert list(islice(dealer(films, 0.6, dealt), 7)) == whole[5:]


@pytest.mark.parametrize("strength", ["none", "geometric", "all"])
def test_maps_of_a_film_stay_on_their_place(strength):
    film, mask = film_and_mask(2, positive=True, side=256)
    film = np.where(mask > 0, np.uint8(220), np.uint8(50))
    augment = Augmentation(strength)
    overlaps = []
    for seed in range(12):
        changed, (moved, fainter) = augment(film, [mask, mask // 2], seed)
        assert changed.shape == moved.shape == film.shape
        assert np.abs(fainter - moved / 2).max() <= 2  # rounded in each of up to three steps
        bright, inside = changed >= (int(changed.min()) + int(changed.max())) / 2, moved >= 128
        overlaps.append(2 * (bright & inside).sum() / (bright.sum() + inside.sum()))
    assert np.median(overlaps) > 0.95


def test_augmentation_repeats_from_its_seed_and_none_does_nothing():
    film, mask = film_and_mask(4, positive=True)
    first, again, other = (Augmentation("all")(film, [mask], seed)[0] for seed in (7, 7, 8))
    assert (first == again).all()
    assert (first != other).any()
    same, (same_mask,) = Augmentation("none")(film, [mask], 7)
    assert (same == film).all()
    assert (same_mask == mask).all()


def test_the_network_learns_from_what_the_app_would_show_it(films, tmp_path):
    store, spec = FilmStore(films, tmp_path), InputSection(side=96).spec()
    dataset = FilmDataset(films, store, spec, Augmentation("none"), {MaskKind.EXPERT: 0.7})
    positive = next(number for number, film in enumerate(films) if film.positive and film.mask_known)
    example = dataset[Draw(positive, 0, 96)]
    assert list(example["films"]) == [96]
    assert np.array_equal(example["films"][96].numpy(), prepare(as_pixels(store.film(films[positive])), spec))
    assert set(np.unique(example["mask"])) == {0, 1}
    assert example["mask"].shape == (1, 96, 96)
    assert float(example["mask_weight"]) == pytest.approx(0.7)
    label_only = next(number for number, film in enumerate(films) if not film.mask_known)
    example = dataset[Draw(label_only, 0, 64)]
    assert (float(example["mask_weight"]), float(example["label"])) == (0.0, 1.0)
    assert example["films"][64].shape == (3, 64, 64)
    for_teachers = FilmDataset(films, store, spec, Augmentation("none"), {}, sides=(128, 64))[Draw(label_only, 0, 64)]
    assert {side: film.shape for side, film in for_teachers["films"].items()} == {64: (3, 64, 64), 128: (3, 128, 128)}


def test_films_are_decoded_once_and_another_index_gets_its_own_cache(films, tmp_path):
    store = FilmStore(films, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert (FilmStore(films, tmp_path).film(films[3]) == store.film(films[3])).all()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    FilmStore(films[:4], tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    truth = cv2.imread(str(films[0].mask), cv2.IMREAD_GRAYSCALE) > 0
    assert store.mask(films[0]).mean() == pytest.approx(truth.mean(), rel=0.02)
    assert not store.mask(films[1]).any()


def test_a_picture_that_cannot_be_decoded_is_named_by_a_code(films, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = read_index(write_index(tmp_path, [row("broken")]))
    with pytest.raises(SettingsError) as error:
        FilmStore(broken, tmp_path / "cache")
    assert error.value.code == "FILM_UNREADABLE"


def test_half_covered_pixels_count():
    mask = np.zeros((4, 4), np.uint8)
    mask[0, :2] = mask[1, 0] = 1  # three quarters of the first pixel of two
    mask[2, 2] = 1  # a quarter of the last
    assert resize_mask(mask, 2).tolist() == [[1, 0], [0, 0]]


def test_films_that_changed_are_decoded_again(tmp_path):
    (tmp_path / "data").mkdir()
    films = read_index(prepared_folder(tmp_path / "data", train=2, validation=0))
    assert FilmStore(films, tmp_path / "cache").film(films[0]).max() > 0
    for film in films:
        cv2.imwrite(str(film.image), np.zeros((16, 16), np.uint8))
    assert FilmStore(films, tmp_path / "cache").film(films[0]).max() == 0


def test_masks_that_a_configuration_does_not_name_weigh_what_they_usually_do():
    weights = configuration(data={"mask_weights": {"expert-matched": 0.7}}).data.mask_weights
    assert weights[MaskKind.MATCHED] == 0.7
    assert weights[MaskKind.EXPERT] == 1.0
    assert weights[MaskKind.CONSENSUS] == 0.5


@pytest.mark.parametrize(
    "sections", [{"schedule": {"films": 8, "sides": [[0.0, 200]]}}, {"input": {"side": 64, "channels": 1}}]
)
def test_an_impossible_network_input_is_refused(sections):
    with pytest.raises(SettingsError) as error:
        configuration(**sections)
    assert error.value.code == "CONFIGURATION_INVALID"
