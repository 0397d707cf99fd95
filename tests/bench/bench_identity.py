"""What signatures cost: the firmware's Ed25519 beside embit's ECDSA and the RFC's own way, all in one run on the Unix port.

    python tests/bench/bench_identity.py [--rounds 15] [--json]

The same file is the device's half: MicroPython runs it with the name of a part. Every round does each operation once, in
turn; a figure is the median over the rounds. A busy machine interrupts the long operations most, which flatters the short
ones: then the quickest round of each is the fair figure, and its ratio stands beside that of the medians. Three runs:

    speed    -X heapsize=256K, the emulated device's heap, otherwise empty; the firmware as .mpy, as on a device (the same code
             compiled from source is a tenth quicker: .mpy keeps one processor register for its names)
    full     the same with 64 KiB of it free and gc.threshold(16384), as under the running agent
    churn    with the collector off: bytes an operation leaves behind

embit is pure Python and made for MicroPython; its ECDSA is the one from its package (util/key.py), with int.bit_length,
which MicroPython lacks, written out, and its HMAC done here in C. The reference is RFC 8032's description, step by
step (extended coordinates, double and add, `pow` for inverses), with SHA-512 from the firmware.
"""
import sys

MESSAGE = bytes(range(100))
SEED = bytes(range(32))


def _reference():
    """RFC 8032, sections 5.1.5 to 5.1.7, as one would write them down."""
    from prosumer.identity.sha512 import sha512

    p = 2**255 - 19
    order = 2**252 + 27742317777372353535851937790883648493
    d = -121665 * pow(121666, p - 2, p) % p

    def number(data):
        return int.from_bytes(data, "little")

    def add(a, b):
        u = (a[1] - a[0]) * (b[1] - b[0]) % p
        v = (a[1] + a[0]) * (b[1] + b[0]) % p
        t = 2 * a[3] * b[3] * d % p
        z = 2 * a[2] * b[2] % p
        e, f, g, h = v - u, z - t, z + t, v + u
        return e * f % p, g * h % p, f * g % p, e * h % p

    def times(n, q):
        r = (0, 1, 1, 0)
        while n:
            if n & 1:
                r = add(r, q)
            q = add(q, q)
            n >>= 1
        return r

    def recover(y, sign):
        x2 = (y * y - 1) * pow(d * y * y + 1, p - 2, p) % p
        x = pow(x2, (p + 3) // 8, p)
        if (x * x - x2) % p:
            x = x * pow(2, (p - 1) // 4, p) % p
        return x if x & 1 == sign else p - x

    def encode(q):
        z = pow(q[2], p - 2, p)
        return (q[1] * z % p | (q[0] * z % p & 1) << 255).to_bytes(32, "little")

    def decode(data):
        y = number(data)
        x = recover(y & (1 << 255) - 1, y >> 255)
        y &= (1 << 255) - 1
        return x, y, 1, x * y % p

    y = 4 * pow(5, p - 2, p) % p
    x = recover(y, 0)
    base = (x, y, 1, x * y % p)

    def expand(seed):
        h = sha512(seed)
        return number(h[:32]) & (1 << 254) - 8 | 1 << 254, h[32:]

    def sign(seed, message):
        a, prefix = expand(seed)
        public = encode(times(a, base))
        r = number(sha512(prefix + message)) % order
        nonce = encode(times(r, base))
        h = number(sha512(nonce + public + message)) % order
        return nonce + ((r + h * a) % order).to_bytes(32, "little")

    def verify(public, message, signature):
        h = number(sha512(signature[:32] + public + message)) % order
        left = times(number(signature[32:]), base)
        right = add(decode(signature[:32]), times(h, decode(public)))
        return not (left[0] * right[2] - right[0] * left[2]) % p and not (left[1] * right[2] - right[1] * left[2]) % p

    return sign, verify


def _wires(ed25519):
    """Two members' wires that hold the same feeder key, a vote and a block."""
    from prosumer.identity import wire
    from prosumer.identity.seal import pads

    class Signer:  # no operator wrapped this key
        public = bytes(32)

        @staticmethod
        def agree(_):
            raise wire.Reject("no-key")

    wires = []
    for member in range(2):
        w = wire.Wire("bench.wire%d" % member, b"feeder-1", member, Signer)
        w.raw, w.keys = b"\0\1", [(129, pads(b"k" * 32))]
        wires.append(w)
    return wires, bytes(103), bytes(range(250)) * 16 + b"last"


def _sent(wire, record):
    return b"".join([bytes(p) for p in wire.seal("vote", 0, record).pieces])


def _operations():
    """(name, call, how many signatures it handles) each; every call is checked to do its work."""
    from hashlib import sha256

    import embit_key
    from prosumer.identity import ed25519
    from prosumer.identity.sha512 import sha512

    signer = ed25519.Signer(SEED)
    signature = signer.sign(MESSAGE)
    known = ed25519.PreparedKey(signer.public)
    kept = ed25519.PreparedKey(signer.public, "bench.key")
    neighbours = [ed25519.Signer(bytes((i,)) * 32) for i in range(4)]
    keys = [ed25519.PreparedKey(s.public) for s in neighbours]
    batch = []
    for i in range(16):
        message = b"reading %d" % i + MESSAGE
        batch.append((keys[i % 4], message, neighbours[i % 4].sign(message)))

    def from_file():
        ed25519._shared_by = None  # as when another neighbour's table was read last
        return kept.verify(MESSAGE, signature)

    wires, vote, block = _wires(ed25519)
    sealed_vote, sealed_block = _sent(wires[0], vote), _sent(wires[0], block)
    buffer = bytearray(sealed_block)

    def open_block():
        buffer[:] = sealed_block
        return bytes(wires[1].open("vote", 0, memoryview(buffer))[-4:]) == b"last"

    reference_sign, reference_verify = _reference()
    digest = sha256(MESSAGE).digest()
    key = embit_key.ECKey()
    key.set(SEED[:31] + b"\x77", True)
    public = key.get_pubkey()
    ecdsa = key.sign_ecdsa(digest)
    operations = (
        ("sign", lambda: signer.sign(MESSAGE) == signature, 1),
        ("verify known key", lambda: known.verify(MESSAGE, signature), 1),
        ("verify known key, table in a file", from_file, 1),
        ("verify unknown key", lambda: ed25519.verify(signer.public, MESSAGE, signature), 1),
        ("verify, batch of 16", lambda: ed25519.verify_many(batch) == [True] * 16, 16),
        ("prepare a key", lambda: len(ed25519.PreparedKey(signer.public)._table), 1),
        ("open a seed", lambda: ed25519.Signer(SEED).public == signer.public, 1),
        ("SHA-512 of 100 bytes", lambda: len(sha512(MESSAGE)), 1),
        ("X25519", lambda: len(signer.agree(b"\x09" + bytes(31))), 1),
        ("seal a vote, 103 bytes", lambda: _sent(wires[0], vote) == sealed_vote, 1),
        ("open a vote, 103 bytes", lambda: bytes(wires[1].open("vote", 0, sealed_vote)) == vote, 1),
        ("seal 4 kB, per kB", lambda: _sent(wires[0], block) is not None, len(block) / 1000),
        ("open 4 kB, per kB", open_block, len(block) / 1000),
        ("embit ECDSA sign", lambda: key.sign_ecdsa(digest) == ecdsa, 1),
        ("embit ECDSA verify", lambda: public.verify_ecdsa(ecdsa, digest), 1),
        ("RFC 8032 reference sign", lambda: reference_sign(SEED, MESSAGE) == signature, 1),
        ("RFC 8032 reference verify", lambda: reference_verify(signer.public, MESSAGE, signature), 1),
    )
    for name, call, _ in operations:
        if not call():
            raise RuntimeError(name)
    return operations


def on_device(part, rounds, folder):
    import gc
    import json
    import os
    import time

    sys.path[:0] = [folder + "/x64", folder]
    os.chdir(folder)
    gc.collect()
    before = gc.mem_alloc()
    from prosumer.identity import ed25519

    gc.collect()
    result = {"heap after import": gc.mem_alloc() - before, "table bytes per key": ed25519.TABLE_SIZE}

    class hmac:  # embit asks for this much of the module
        @staticmethod
        def new(key, data, _):
            from prosumer.identity import seal

            class Mac:
                @staticmethod
                def digest():
                    return seal.hmac(key, data)

            return Mac

    sys.modules["hmac"] = hmac
    operations = _operations()
    result["order"] = [name for name, _, _ in operations]
    if part == "churn":
        for name, call, count in operations:
            gc.collect()
            gc.disable()
            before = gc.mem_alloc()
            call()
            result[name] = int((gc.mem_alloc() - before) / count)
            gc.enable()
    else:
        ballast = []
        gc.collect()
        while part == "full" and gc.mem_free() > 65536:
            ballast.extend([[bytes(40), (i, i), {i: i}] for i in range(16)])
            gc.collect()
        if part == "full":
            gc.threshold(16384)
            operations = [o for o in operations if o[0][:3] not in ("emb", "RFC", "SHA", "pre", "X25", "sea", "ope")]
        times = {name: [] for name, _, _ in operations}
        for _ in range(rounds):
            for name, call, _ in operations:
                start = time.ticks_us()
                call()
                times[name].append(time.ticks_diff(time.ticks_us(), start))
        for name, _, count in operations:
            result[name] = sorted(times[name])[rounds // 2] / count
            result["quickest " + name] = min(times[name]) / count
    print(json.dumps(result))


# Xtensa instructions for each limb product, row, limb carried, limb of a sum, limb unpacked, operation, step; limb of a round of SHA-512.
_PRODUCT, _ROW, _CARRY, _SUM, _UNPACK, _OPERATION, _STEP, _HASH = 9, 29, 59, 52, 83, 120, 120, 543
_LIMBS = 20


def estimate(doubles, rows, roots, blocks):
    """(low, high) milliseconds on an ESP32 at 240 MHz: derived by counting, not measured, and uncertain by a factor of two.

    The machine is straight viper code, so its instructions were counted in what mpy-cross makes of it for xtensawin, by the
    bytes that one more line or loop adds, at 2.64 bytes an instruction: 9 for each of the 20 * 20 limb products, 29 around
    each row, 59 for each limb carried, 52 for each limb of a sum, 543 for each of 4 limbs in 80 rounds of SHA-512. Low takes
    1.2 cycles an instruction (all in cache), high 2.0 (cache misses, a busy bus). The bytecode and big integers around them
    take 0.1 ms on the Unix port; an ESP32 is taken to be 25 to 50 times slower there. Flash reads are left out.
    """
    product = _LIMBS * (_LIMBS * _PRODUCT + _ROW + _CARRY) + _OPERATION
    addition = _LIMBS * _SUM + _OPERATION
    instructions = doubles * (7 * product + 6 * addition + _STEP)
    instructions += rows * (7 * product + 7 * addition + 3 * _LIMBS * _UNPACK + _STEP)
    instructions += roots * 266 * product + blocks * 80 * 4 * _HASH
    return instructions * 1.2 / 240e3 + 0.1 * 25, instructions * 2.0 / 240e3 + 0.1 * 50


def main():
    import argparse
    import json
    import subprocess
    import tempfile
    from pathlib import Path

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    firmware = root / "firmware"
    tools = Path(sys.executable).parent
    import embit

    results = {}
    with tempfile.TemporaryDirectory() as folder:
        text = (Path(embit.__file__).parent / "util/key.py").read_text()
        for variable in "rs":
            text = text.replace(f"{variable}.bit_length()", f"(len(bin({variable})) - 2)")
        Path(folder, "embit_key.py").write_text(text)
        for arch in ("x64", "xtensawin", "rv32imc"):  # x64 is what runs below
            compiled = Path(folder, arch)
            (compiled / "prosumer/identity").mkdir(parents=True)
            for path in [firmware / f"prosumer/{name}.py" for name in ("errors", "codec", "durable")] + sorted((firmware / "prosumer/identity").glob("*.py")):
                target = (compiled / path.relative_to(firmware)).with_suffix(".mpy")
                subprocess.run([tools / "mpy-cross", "-O2", f"-march={arch}", path, "-o", target], check=True)
            results[f"mpy bytes {arch}"] = {f.stem: f.stat().st_size for f in sorted((compiled / "prosumer/identity").iterdir())}
        for part, heap in (("speed", "256K"), ("full", "256K"), ("churn", "32M")):
            command = [tools / "micropython", "-X", f"heapsize={heap}", __file__, part, str(arguments.rounds), folder]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                sys.exit(done.stdout + done.stderr)
            results[part] = json.loads(done.stdout)
    speed = results["speed"]
    for kind in ("", "quickest "):
        for peer in ("embit ECDSA", "RFC 8032 reference"):
            results[f"{kind}times faster than {peer}"] = {
                name: speed[f"{kind}{peer} {name.split(',')[0].split()[0]}"] / speed[kind + name]
                for name in speed["order"]
                if name.startswith(("sign", "verify"))
            }
    # Doublings, additions of rows, powers by a root (inverses included), blocks of SHA-512; one even scalar in two costs a row.
    results["ESP32 ms, low and high"] = {
        "sign": estimate(21, 44, 1, 4),
        "verify known key": estimate(25, 96.5, 1, 2),
        "verify, batch of 16": estimate(25, 96.5, 1 / 16, 2),
        "verify unknown key": estimate(25 + 9 * 26 + 10, 96.5 + 48, 3, 2),
        "X25519": estimate(253 + 3, 253, 4, 0),
    }
    checks = 40 + 40 + 2 * 27
    # Sealed besides: what is checked, 40 readings and a block come in, ten records go out. Bytecode, so by its factor.
    unix_us = (checks + 40) * speed["open a vote, 103 bytes"] + 14 * speed["open 4 kB, per kB"] + 10 * speed["seal a vote, 103 bytes"]
    results["ESP32 CPU % of a 5-minute slot"] = [
        (checks * ms + unix_us * factor / 1000) / 3000 for ms, factor in zip(results["ESP32 ms, low and high"]["verify known key"], (25, 50))]
    results["ESP32 CPU % of it for sealing"] = [unix_us * factor / 1000 / 3000 for factor in (25, 50)]
    if arguments.json:
        print(json.dumps(results, indent=1))
    else:
        _print(results)


def _print(results):
    speed, full, churn, esp32 = results["speed"], results["full"], results["churn"], results["ESP32 ms, low and high"]
    print(f"{'us on the Unix port':36}{'median':>8}{'quickest':>10}{'full heap':>11}{'x embit':>14}{'x RFC ref.':>14}{'churn, B':>10}{'ESP32 ms':>12}")
    for name in speed["order"]:
        slow = f"{full['quickest ' + name]:.0f}" if name in full else ""
        ratios = []
        for peer in ("embit ECDSA", "RFC 8032 reference"):
            pair = [results[f"{kind}times faster than {peer}"].get(name) for kind in ("", "quickest ")]
            ratios.append("{:.1f} ({:.1f})".format(*pair) if pair[0] else "")
        chip = "{:.0f} to {:.0f}".format(*esp32[name]) if name in esp32 else ""
        times = f"{speed[name]:>8.0f}{speed['quickest ' + name]:>10.0f}{slow:>11}"
        print(f"{name:36}{times}{ratios[0]:>14}{ratios[1]:>14}{churn[name]:>10}{chip:>12}")
    print("Ratios: of the medians, in brackets of the quickest rounds. Full heap: quickest round.\n")
    print(f"table bytes per known key: {speed['table bytes per key']}; heap that importing the .mpy keeps: {speed['heap after import']}")
    for arch in ("x64", "xtensawin", "rv32imc"):
        sizes = results[f"mpy bytes {arch}"]
        print(f".mpy bytes {arch}: {sum(sizes.values())} =", ", ".join(f"{name} {size}" for name, size in sizes.items()))
    print("\nESP32:", estimate.__doc__.replace("\n    ", "\n").strip())
    low, high = results["ESP32 CPU % of a 5-minute slot"]
    sealing = "{:.2f} to {:.2f}".format(*results["ESP32 CPU % of it for sealing"])
    print(f"\n134 checks in a 5-minute slot (40 orders, 40 commits, 2 x 27 votes), all sealed: {low:.1f} to {high:.1f} % of its CPU, "
          f"of these {sealing} for sealing 185 messages and a block")


if __name__ == "__main__":
    if sys.implementation.name == "micropython":
        on_device(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    else:
        main()
