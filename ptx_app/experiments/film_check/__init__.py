"""The film check: training data, training, and evaluation."""
