"""How often a page looks at its list while films are read."""

import threading

import pytest

from ptx_app.ui.background import seconds_between_looks


@pytest.mark.parametrize(("readers", "seconds"), [(0, 0.5), (2, 0.5), (4, 1.0), (10, 2.5), (40, 3.0)])
def test_pages_look_less_often_the_more_visits_are_at_work(readers, seconds, monkeypatch):
    threads = [threading.Thread(name=name) for name in ["MainThread", *["film-reader"] * readers]]
    monkeypatch.setattr(threading, "enumerate", lambda: threads)
    assert seconds_between_looks() == seconds
