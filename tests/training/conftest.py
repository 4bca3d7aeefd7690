"""Imported before any test imports torch, so that its threads do not wait by spinning."""

import ptx_app  # noqa: F401
