"""Labelled films on disk: the index, the challenge's layout, preparation, the decoded store, and the split."""
