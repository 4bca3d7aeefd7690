"""The manifest of weights, and the networks that they belong to."""
