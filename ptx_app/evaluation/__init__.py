"""What is measured of a model, how sure it is, and the pages and figures that say so."""
