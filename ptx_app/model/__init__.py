"""Weights: the manifest, where they are fetched from, and the network they belong to."""
