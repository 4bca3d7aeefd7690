"""Shared by tests and tools: synthetic films, a server for weights, a running app and a browser."""
