"""→ header: what the street agrees on, final by a quorum of signatures.

pool.py      verified records that wait for a block
block.py     build a block; execute it (clearing, settlement) on state.py
simplex.py   the agreement, a pure state machine; tally.py: what was heard in an iteration
node.py      feeds the core with what it checked, makes durable what it decides, then says it
headers.py   the ring of recent headers in flash; mmr.py, merkle.py, salted.py, proofs.py: the trees
catchup.py   back after an absence, by certificates and consistency proofs
"""
