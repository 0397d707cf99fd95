"""Every block of many feeders, kept in a database that nobody has to trust: what it gives comes with proofs, and it can be checked.

    database → chain (checks a block and books it) → reader, store (many feeders, what waits for a gap to close) → receipts, search, export
    sources (runs, other archives) → fill (what is missing), repair (what check finds)
    listen (follows a feeder over MQTT), answers → http, and back over MQTT; check (is the database lying or lost?)

Blocks are decoded and booked by the independent code of `prosumer verify`, not by the firmware's.
"""
