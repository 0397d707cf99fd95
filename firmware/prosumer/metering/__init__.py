"""Sample → reading. Read `kernel` (samples → sums), `quantities` (sums → P, Q), `channel` and `meter` (→ energy of an
interval, its doubts and its flags), `calibration` (what a count is worth), `registers` (what no power cut takes back)."""
