"""Made films, a server for weights, a running app and a browser: what tests and tools share."""
