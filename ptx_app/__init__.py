"""Pneumothorax on chest films: reading, finding, showing; training and evaluation."""

import os

__version__ = "0.1.0"

# torch's OpenMP threads wait for each other by spinning; beside another busy process on the same few cores a film then
# takes 3.5 s instead of 0.1. Must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
