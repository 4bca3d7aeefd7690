"""Is it an upright frontal chest film? The header first, then the picture."""
