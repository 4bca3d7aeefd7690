"""The rules of the sign-in: whose claims count, when a sign-in is over, and that nothing broken opens it."""

import pytest
from streamlit.testing.v1 import AppTest

from ptx_app.errors import SettingsError
from ptx_app.model.manifest import ROOT
from ptx_app.settings import Settings, read_settings
from ptx_app.ui.sign_in import Role, claimed
from ptx_app.ui.sign_ins import LONGEST_SECONDS, SignIns

CLAIMS = {"is_logged_in": True, "iss": "https://id.example", "sub": "1", "iat": 1000, "nonce": "n", "name": "Jane"}
AUTH = {
    "redirect_uri": "https://films.example.org/oauth2callback",
    "cookie_secret": "c" * 32,
    "client_id": "app",
    "client_secret": "s",
    "server_metadata_url": "https://id.example/.well-known/openid-configuration",
}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(clock) -> SignIns:
    return SignIns(60, clock)


def test_a_sign_in_lives_while_it_is_used_and_never_comes_back(known, clock):
    for _ in range(5):
        assert known.alive("jane", 1000)
        known.use("jane")
        clock.now += 59
    clock.now += 1
    assert not known.alive("jane", 1000)
    known.use("jane")
    assert not known.alive("jane", 1000)


def test_looking_at_the_page_is_no_use(known, clock):
    for _ in range(6):
        clock.now += 10
        alive = known.alive("jane", 1000)
    assert not alive


def test_an_old_sign_in_is_not_alive_even_where_nobody_knows_it(known, clock):
    clock.now += 61
    assert not known.alive("jane", 1000)
    assert not known.alive("jane", 1000)
    assert known.alive("john", clock.now)


def test_no_sign_in_lives_longer_than_a_working_day(known, clock):
    known.alive("jane", 1000)
    while clock.now < 1000 + LONGEST_SECONDS - 30:
        known.use("jane")
        clock.now += 30
    assert known.alive("jane", 1000)
    known.use("jane")
    clock.now += 31
    assert not known.alive("jane", 1000)


def test_all_pages_of_a_sign_in_are_told_once_why_it_ended(known, clock):
    told = []
    known.alive("jane", 1000)
    known.when_over("jane", lambda why: told.append(("first", why)))
    known.when_over("jane", lambda why: told.append(("second", why)))
    known.end_idle()
    assert told == []
    clock.now += 60
    known.end_idle()
    known.end_idle()
    known.end("jane", "asked")
    assert told == [("first", "idle"), ("second", "idle")]
    known.when_over("jane", lambda why: told.append(("late", why)))
    assert told[-1] == ("late", "idle")


def test_one_that_was_ended_stays_ended_for_as_long_as_its_age_would_let_it_in(known, clock):
    assert known.alive("jane", 1000)
    known.end("jane", "asked")
    while clock.now < 1300:
        assert not known.alive("jane", 1000)
        known.alive("john", clock.now)
        clock.now += 10
    assert len(known._known) < 15, "and is forgotten then"


def test_a_person_is_who_the_claims_say():
    who = claimed(CLAIMS | {"roles": ["reader", "other"]}, Settings())
    assert (who.id, who.name, who.roles) == ("1", "Jane", {Role.READER})
    assert claimed(CLAIMS | {"iat": 1001}, Settings()).sign_in != who.sign_in


@pytest.mark.parametrize(
    "claims", [{"is_logged_in": False}, {"is_logged_in": "true"}, {"sub": ""}, {"iat": None}, {"iat": "1000"}]
)
def test_claims_that_name_nobody_are_nobody(claims):
    assert claimed(CLAIMS | claims, Settings()) is None
    assert claimed({}, Settings()) is None


@pytest.mark.parametrize(
    ("claim", "claims", "roles"),
    [
        ("roles", {"roles": "reader"}, {Role.READER}),
        ("roles", {"roles": "reader operator"}, set()),
        ("roles", {"roles": {"reader": True}}, set()),
        ("roles", {"roles": [1, None, ["reader"]]}, set()),
        ("roles", {}, set()),
        ("realm_access.roles", {"realm_access": {"roles": ["operator"]}}, {Role.OPERATOR}),
        ("https://hospital.example/roles", {"https://hospital.example/roles": ["reader"]}, {Role.READER}),
        ("groups", {"groups": ["X-ray readers", "operator"], "roles": ["reader"]}, {Role.OPERATOR}),
    ],
)
def test_roles_are_those_of_the_claim_that_the_operator_names(claim, claims, roles):
    assert claimed(CLAIMS | claims, read_settings({"PTX_ROLE_CLAIM": claim})).roles == roles


def test_the_operator_names_the_values_too():
    wanted = read_settings({"PTX_READER_ROLE": "X-ray readers, radiology", "PTX_OPERATOR_ROLE": "IT"})
    for value, roles in (("radiology", {Role.READER}), ("IT", {Role.OPERATOR}), ("reader", set())):
        assert claimed(CLAIMS | {"roles": [value]}, wanted).roles == roles


@pytest.mark.parametrize("text", ["0", "-3", "soon", "nan", "inf", "1441"])
def test_an_idle_time_that_is_none_is_reported(text):
    with pytest.raises(SettingsError, match="PTX_IDLE_MINUTES"):
        read_settings({"PTX_IDLE_MINUTES": text})


def words_of(page: AppTest) -> str:
    assert not page.exception
    return " ".join(element.proto.body for element in page.get("html"))


@pytest.fixture
def page() -> AppTest:
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    page.query_params["example"] = "pneumothorax"
    return page


def test_with_a_provider_the_page_is_closed_and_says_after_how_long_it_closes_again(page):
    page.secrets = {"auth": AUTH}
    said = words_of(page.run())
    assert "Sign in to read films" in said
    assert "15 minutes without use" in said
    assert [button.label for button in page.button] == ["Sign in"]
    assert not page.file_uploader
    assert "visit" not in page.session_state


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        *(({name: ""}, name) for name in AUTH),
        ({"cookie_secret": "changeme"}, "cookie_secret"),
        ({"redirect_uri": "http://films.example.org/oauth2callback"}, "redirect_uri must begin with https"),
        ({"redirect_uri": "https://films.example.org/"}, "oauth2callback"),
        ({"server_metadata_url": "http://id.example/x"}, "server_metadata_url must begin with https"),
    ],
)
def test_a_sign_in_that_is_not_set_up_well_keeps_the_page_closed(page, broken, said):
    page.secrets = {"auth": AUTH | broken}
    words = words_of(page.run())
    assert "SIGN_IN_INVALID" in words
    assert said in words
    assert not page.file_uploader


@pytest.mark.parametrize("section", [{}, "yes", None])
def test_an_empty_section_keeps_it_closed_too(page, section):
    page.secrets = {"auth": section}
    assert "SIGN_IN_INVALID" in words_of(page.run())
    assert not page.file_uploader


def test_secrets_that_cannot_be_read_keep_it_closed(page, monkeypatch, tmp_path):
    from streamlit import config
    from streamlit.runtime.secrets import Secrets

    (tmp_path / "secrets.toml").write_text("[auth\nclient_secret = 'very secret'")
    monkeypatch.setattr("streamlit.secrets", Secrets())
    before = config.get_option("secrets.files")
    config.set_option("secrets.files", [str(tmp_path / "secrets.toml")])
    try:
        words = words_of(page.run())
    finally:
        config.set_option("secrets.files", before)
    assert "SECRETS_UNREADABLE" in words
    assert "very secret" not in words
    assert not page.file_uploader


def test_leaving_is_asked_for_at_each_drawing_until_the_browser_has_left(monkeypatch):
    # Streamlit drops what a drawing asked for if the next one begins before it is sent.
    def page():
        from ptx_app.ui.sign_in import show_sign_in

        show_sign_in()

    claims, left = {"is_logged_in": True}, []
    monkeypatch.setattr("streamlit.user", claims)
    monkeypatch.setattr("streamlit.logout", lambda: left.append(claims.clear()))
    drawn = AppTest.from_function(page).run()
    assert "being signed out" in drawn.run().run().main.children[0].proto.body
    assert len(left) == 3
    assert "Sign in" in [button.label for button in AppTest.from_function(page).run().button]
    assert len(left) == 3
