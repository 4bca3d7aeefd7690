"""Pneumothorax on chest films: reading, finding, showing; training and evaluation."""

__version__ = "0.1.0"
