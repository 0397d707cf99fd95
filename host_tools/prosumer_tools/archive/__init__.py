"""Every block of many feeders, kept in a database that nobody has to trust: what it gives comes with proofs, and it can be checked.

    database → chain (checks a block and books it) → store (many feeders, what waits for a gap to close) → receipts, search, export
    listen (follows a feeder over MQTT), answers → http, and back over MQTT; check (is the database lying or lost?)

Blocks are decoded and booked by the independent code of `prosumer verify`, not by the firmware's.
"""
