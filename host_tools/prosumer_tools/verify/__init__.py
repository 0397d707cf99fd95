"""`prosumer verify`: a whole run checked again from its stored bytes, by code that shares nothing with the meters'.

records (bytes → records) → signatures, trees → rules (clearing, settlement) → books (state) → check (the walk).
Signatures come from the `cryptography` package, hashes from hashlib, sums from fractions.
"""
