"""Reading → signed reading: whose it is, and that nobody else made it.

chain.py     each reading names the hash of the one before; no slot is signed twice
ed25519.py   RFC 8032, strict, on a machine of limbs (machine, curve, comb) and sha512
keystore.py  the seed at rest (seal, entropy)
members.py   the feeder's genesis, and a prepared key for each neighbour
wire.py      what crosses the broker, sealed for the feeder
"""
