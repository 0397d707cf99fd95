"""Where the seed is not: in no byte of a MicroPython process that has opened its key store, before and after collection; and what was
made of it is nowhere any more once main.py has ended."""
import asyncio
import hashlib
import json
import os
import re
import subprocess

import pytest
from emulator_kit import START_MS
from prosumer_tools import cli, image
from prosumer_tools.emulator.device import FrontEnd
from prosumer_tools.emulator.supervisor import Supervisor
from prosumer_tools.unixport import FIRMWARE, find_micropython
from test_provision_meter import street_with

ID = b"\x24\x0a\xc4\x12\x34\x56"
_OPEN = """
import gc, sys
sys.path[:0] = [%r]
from hashlib import sha256
from prosumer.identity.keystore import KeyStore
state = [b"source"]
def source(n):
    state[0] = sha256(state[0]).digest()
    return sha256(state[0] + b"out").digest()
store = KeyStore(%r, %r, %r)
if not store.exists():
    store.create(source)
signer = store.open()
print(signer.public.hex())
sys.stdin.readline()
signer.sign(b"x")
gc.collect()
print("signed")
sys.stdin.readline()
"""


def seed():
    """What the store above draws first."""
    state, samples = b"source", b""
    while len(samples) < 1024:
        state = hashlib.sha256(state).digest()
        samples += hashlib.sha256(state + b"out").digest()
    return hashlib.sha256(samples).digest()


def memory(pid):
    """All that the process may write to."""
    out = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            start, end, rights = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
            if rights.startswith("rw"):
                mem.seek(int(start, 16))
                try:
                    out.append(mem.read(int(end, 16) - int(start, 16)))
                except OSError:
                    pass  # the kernel's own pages
    return b"".join(out)


@pytest.mark.parametrize("pin", [None, b"4711"])
def test_no_copy_of_the_seed_is_left_in_memory(tmp_path, pin):
    secret = seed()
    for boot in ("made and opened", "opened"):
        process = subprocess.Popen([find_micropython(), "-X", "heapsize=256K", "-c", _OPEN % (str(FIRMWARE), str(tmp_path / "seed.key"), ID, pin)],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            public = bytes.fromhex(process.stdout.readline())
            for _ in range(2):
                held = memory(process.pid)
                assert public in held, "the search finds what is there"
                assert secret not in held and secret.hex().encode() not in held, boot
                process.stdin.write("\n")
                process.stdin.flush()
                process.stdout.readline()
        finally:
            process.kill()
            process.communicate()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    assert Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw() == public, "it was this seed"


def parts(secret):
    """What signs, as it lies in memory: the scalar, whose big integer has digits of 32 bits, the lowest first, and the prefix."""
    h = hashlib.sha512(secret).digest()
    scalar = (int.from_bytes(h[:32], "little") & (1 << 254) - 8 | 1 << 254) % (2**252 + 27742317777372353535851937790883648493)
    return scalar.to_bytes(32, "little"), h[32:]


def test_nothing_that_signs_is_left_once_a_meter_that_ran_is_interrupted(tmp_path):
    """Neither a REPL nor a soft reset on a chip clears the heap, so main.py does when it ends."""
    key = tmp_path / "seed.key"
    made = subprocess.run([find_micropython(), "-c", _OPEN % (str(FIRMWARE), str(key), ID, None)], input="\n\n", capture_output=True, text=True, check=True)
    public = bytes.fromhex(made.stdout.split()[0])
    scalar, prefix = parts(seed())
    files = {"seed.key": key.read_bytes(), "genesis.bin": street_with(public), "config.json": json.dumps(
        {"name": "m", "channels": ["grid"], "devices": {}, "broker": {"host": "127.0.0.1", "port": 9}}).encode()}

    async def until(condition):
        for _ in range(6000):
            if condition():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("nothing for a minute")

    async def scenario():
        async with Supervisor(tmp_path / "run", image.build_image().path, START_MS, broker=None, front_end=FrontEnd(8000, 800, 60000, 2)) as street:
            device = street.add("m", ID, files=files)
            street.boot()
            living = asyncio.ensure_future(street.run(START_MS + 10**10))

            def said():
                return device.console.log_path.read_text(errors="replace") if device.console.log_path.exists() else ""

            await until(lambda: said().count("\nruns") and street.now_ms > START_MS + 3 * 900_000)  # it signed readings
            held = memory(device.pid)
            assert scalar in held and prefix in held, "the search finds what is there"
            port = os.open(device.console.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            os.write(port, b"\x03\x03")
            await until(lambda: ">>> " in said())
            held = memory(device.pid)
            os.close(port)
            assert b"/rom" in held and scalar not in held and prefix not in held
            assert await asyncio.to_thread(cli.main, ["keys", "prepare", device.console.path]) == 0
            held = memory(device.pid)
            assert scalar not in held and prefix not in held, "an installer's tool opened the store once more"
            living.cancel()
    asyncio.run(scenario())
