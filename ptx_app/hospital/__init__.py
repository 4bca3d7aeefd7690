"""Connections to a hospital's systems. Needs the extra "hospital"."""
