"""Built on training and evaluation: publish a model, compare several, train the film check."""
