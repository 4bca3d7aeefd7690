"""Weights files: find, download, verify and add them. Nothing is ever unpickled."""
