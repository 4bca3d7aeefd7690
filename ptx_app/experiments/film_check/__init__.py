"""The picture check for chest films: what it is trained on, how it is trained, what it refuses."""
