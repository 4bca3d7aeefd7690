"""Reads untrusted files in child processes with memory and time limits."""
