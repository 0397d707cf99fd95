"""Calibrating a meter's clamps on the spot: `device` talks to the meter, `points` knows the reference, `solve` does the sums."""
