"""Weights files: fetched, downloaded, verified and added. Nothing is ever unpickled."""
