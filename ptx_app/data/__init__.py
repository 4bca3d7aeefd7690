"""Labelled films on disk: index, the challenge's layout, preparation, store of decoded films, and split."""
