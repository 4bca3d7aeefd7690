"""Is it an upright frontal chest film? Checks the header first, then the picture."""
