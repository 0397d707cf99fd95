"""Load the board, prove entropy and identity, run the agent. A meter that is not enrolled yet shows its key and waits."""
import gc
import json
import sys
import time

from micropython import kbd_intr

from prosumer.errors import Halt, Reject

import board


def config():
    try:
        with open("/config.json") as f:
            return json.load(f)
    except OSError:
        return None


def genesis():
    from prosumer.identity.genesis import Genesis
    try:
        with open("/genesis.bin", "rb") as f:
            return Genesis(f.read())
    except OSError:
        return None


def pin():
    print("PIN?")  # of a key store that was sealed with one: a person types it, or `prosumer keys unlock`
    return sys.stdin.readline().strip().encode()


def forget():
    """Write over every free block of the heap: what signed is garbage by now, and neither a REPL nor a soft reset clears any.

    The modules go too, since what they hold may lead to it; who comes in imports them anew."""
    for name in list(sys.modules):
        if name.startswith(("board", "prosumer", "umqtt")):
            del sys.modules[name]
    gc.collect()
    gc.disable()  # what does not fit is not worth another collection
    held, size = None, gc.mem_free()
    while size > 64:
        try:
            held = held, bytearray(size)
        except MemoryError:
            size //= 2
    try:
        while True:
            held = held, 0  # holes of one block
    except MemoryError:
        held = None
    gc.enable()
    gc.collect()


def main(hal):
    # Collect after every 4 KiB: what stays is then never allocated far above what lives already, and the free part of the
    # heap remains one piece. Without it a few dozen small objects cut 30 KiB of free heap into holes of 2 KiB.
    gc.threshold(4096)
    from prosumer.identity.entropy import prove
    from prosumer.identity.keystore import KeyStore
    prove(hal.noise, "/entropy")
    keys = KeyStore("/seed.key", hal.binding(), pin)
    settings, feeder = config(), genesis()
    if not keys.exists():
        if feeder:
            raise Halt("key-store-missing")  # an enrolled meter never makes itself a new identity
        keys.create(hal.noise)
    signer = keys.open()
    del keys, prove, KeyStore, sys.modules["prosumer.identity.keystore"]
    del sys.modules["prosumer.identity.seal"], sys.modules["prosumer.identity.entropy"]  # done with, and the heap is small
    print("meter", signer.public.hex())
    if not settings or not feeder:
        print("not enrolled: provision /config.json and /genesis.bin, then reset")
        return
    from prosumer.agent import Agent
    from prosumer.ledger.catchup import in_force
    gc.collect()
    code = gc.mem_alloc()
    agent = Agent(hal, settings, board.channels(settings), board.calibration(settings), signer, in_force(feeder, "/data/"))
    agent.heap_code = code
    wire = agent.wire
    print("wire", "OPEN, as provisioned: the broker sees readings and orders" if wire.plain else
          "sealed, epoch %d" % wire.epoch if wire.epoch else "silent: no keys record yet")
    print("runs")  # an installer's tool waits for this line
    agent.run()


hal = board.hal()
try:
    try:
        main(hal)
    finally:
        kbd_intr(-1)  # who came in by Ctrl-C sends more of them
        forget()
        kbd_intr(3)
except (Halt, Reject) as e:
    print("HALT:", e)  # going on would be wrong; a person has to look
except Exception as e:
    sys.print_exception(e)  # a fault nobody foresaw: begin anew from what is on flash
    time.sleep(2)  # lets a person in with Ctrl-C
    hal.reset()
