"""What is done with models once they are trained: publish one, compare several, train the film check."""
