"""The firmware of one meter. Follow a record in the order of the walk:

    sample ─▶ reading        metering/   house.py (the sampling task) → kernel, meter → registers
    reading ─▶ signed        identity/   chain.py (each names the one before) → ed25519; members.py: whose signature counts
    reading ─▶ order         market/     trader.py (forecast → bidding, flexibility), sealed
    order ─▶ clearing        market/     clearing.py: one price that every meter computes alike
    clearing ─▶ settlement   market/     settlement.py: delivery against trade, to the micro-credit
    settlement ─▶ header     ledger/     block.py (build, execute) → node.py (agree: simplex.py) → headers.py

agent.py wires the stages and owns the tasks; link/ speaks MQTT; hal/ is the only place that knows the chip.
records.py lists every record and its exact bytes, codec.py how they are read, errors.py and durable.py what may go wrong.
"""
