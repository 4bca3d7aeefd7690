"""Films of strangers are read in child processes, under limits of memory and time."""
