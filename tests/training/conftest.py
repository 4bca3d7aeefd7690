"""Tests of training and evaluation draw fewer bootstraps: a thousand for each figure take seconds."""

import pytest

from ptx_app.evaluation import metrics


@pytest.fixture(autouse=True, scope="module")
def few_draws():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "BOOTSTRAP_DRAWS", 60)
        yield
