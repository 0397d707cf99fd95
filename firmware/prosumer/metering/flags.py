"""Quality flags of a reading, for those who read them.

The modules that set them hold the same numbers as constants of their own, which cost no memory: images go without this one.
"""
MISSING = 1  # cycles are missing
CLIPPED = 2  # samples at the converter's limit
NO_VOLTAGE = 4  # no voltage to refer to: no power is known
UNCALIBRATED = 8  # the board's nominal numbers only
REVERSED = 16  # the clamp reads backwards, or the house would feed itself
FREQUENCY = 32  # outside 45-65 Hz
CLAMP = 64  # no clamp: its input is at rest, at the rail, or its plug is out
GAP = 128  # more than one cycle in a hundred is missing
FAULTS = CLIPPED | NO_VOLTAGE | REVERSED | FREQUENCY | CLAMP | GAP  # settlement's rule for missing readings holds
