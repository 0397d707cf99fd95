"""What every meter must show on its serial port, an emulated or a real one: firmware, identity, filesystem, memory, arithmetic."""
import os
import re

import pytest
from conftest import PUBLIC, TESTS
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

STAGES = ("metering.house", "identity.chain", "identity.ed25519", "market.trader", "market.clearing", "market.settlement", "ledger.node",
          "ledger.catchup", "link.session", "agent")
HEAP_FOR_DATA = 48 << 10  # bytes that are free when all code is loaded

# RFC 8032, 7.1: seed, public key, message, signature of tests 1 to 3
RFC8032 = (
    ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
     "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
    ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
     "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
     "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"),
)


def test_all_stages_import(meter):
    script = "".join(f"import prosumer.{name}\n" for name in STAGES) + "print('all')"
    assert meter.exec(script) == "all\n"


def test_the_heap_has_room_for_data_when_all_code_is_loaded(meter):
    free = int(meter.exec("import gc; gc.threshold(4096); import board; board.hal(); import prosumer.agent; gc.collect()\n"
                          "print(gc.mem_free())"))
    assert free >= HEAP_FOR_DATA


def test_entropy_is_there_and_does_not_repeat(meter):
    script = "import board; h = board.hal(); print(h.entropy(16).hex(), h.entropy(16).hex())"
    drawn = (meter.exec(script) + meter.exec(script)).split()
    assert len(set(drawn)) == 4 and all(len(d) == 32 for d in drawn)


def test_the_key_is_made_once_and_survives_resets(meter):
    public = meter.exec(PUBLIC)
    assert re.fullmatch("[0-9a-f]{64}\n", public)
    sums = meter.mpremote("fs", "sha256sum", ":/seed.key")
    meter.mpremote("reset")
    assert meter.exec(PUBLIC) == public
    assert meter.mpremote("fs", "sha256sum", ":/seed.key") == sums


def test_a_second_key_is_refused_and_no_secret_is_printed(meter):
    shown = meter.exec(
        "import board\n"
        "from prosumer.errors import Halt\n"
        "from prosumer.identity.keystore import KeyStore\n"
        "h = board.hal()\n"
        "k = KeyStore('/seed.key', h.binding())\n"
        "s = k.open()\n"
        "print(repr(k), repr(s), str(s))\n"
        "try:\n    k.create(h.noise)\nexcept Halt as e:\n    print('halt', e)\n"
        "try:\n    KeyStore('/seed.key', b'another').open()\nexcept Halt as e:\n    print('halt', e)")
    assert "halt key-store-exists" in shown and "halt key-store-wrong-pin-or-device" in shown
    assert not re.search(r"[0-9a-f]{32}|\\x", shown), "a key or seed is in what was printed"


def test_signatures_on_the_device_are_those_of_rfc_8032(meter):
    script = "from prosumer.identity.ed25519 import Signer, verify\nfrom binascii import unhexlify as u\n"
    for seed, public, message, signature in RFC8032:
        script += (f"s, m, sig = Signer(u('{seed}')), u('{message}'), u('{signature}')\n"
                   "print(s.public.hex(), s.sign(m).hex(), verify(s.public, m, sig), verify(s.public, m + b'x', sig))\n")
    assert meter.exec(script).split() == [word for _, public, _, signature in RFC8032 for word in (public, signature, "True", "False")]


def test_what_the_device_signs_with_its_own_key_others_can_check(meter):
    message = os.urandom(100)
    public, signature = meter.exec(
        "import board\nfrom prosumer.identity.keystore import KeyStore\n"
        "s = KeyStore('/seed.key', board.hal().binding()).open()\n"
        f"print(s.public.hex(), s.sign({message!r}).hex())").split()
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(bytes.fromhex(signature), message)


def test_there_is_room_on_the_filesystem(meter):
    free = int(meter.exec("import os; s = os.statvfs('/'); print(s[0] * s[3])"))
    assert free >= 256 << 10, "the ring of headers alone takes up to 300 KiB"


def test_files_survive_soft_and_hard_resets(meter, tmp_path):
    data = os.urandom(20_000)
    (tmp_path / "there").write_bytes(data)
    meter.mpremote("fs", "cp", tmp_path / "there", ":/kept.bin")
    meter.mpremote("soft-reset")
    meter.mpremote("reset")
    meter.mpremote("fs", "cp", ":/kept.bin", tmp_path / "back", "+", "fs", "rm", ":/kept.bin")
    assert (tmp_path / "back").read_bytes() == data
    assert "kept.bin" not in meter.mpremote("fs", "ls", ":/")


RUN_MOUNTED = """
import gc, sys
sys.path += ['/', '/lib', '/remote/unit']  # the mount has become the working directory
gc.threshold(4096)
module, failed, count = __import__({name!r}), 0, 0
for test in sorted(t for t in dir(module) if t.startswith('test_')):
    gc.collect()
    count += 1
    try:
        getattr(module, test)()
    except Exception as e:
        failed += 1
        print('FAIL', test)
        sys.print_exception(e)
print(count, 'run', failed, 'failed')
"""


@pytest.mark.parametrize("name", ["test_identity_sha512", "test_identity_seal", "test_identity_machine", "test_identity_keystore",
                                  "test_identity_wire",
                                  "test_market_envelope", "test_ledger_pool", "test_ledger_simplex"])
def test_unit_tests_pass_on_the_device_from_the_mounted_sources(meter, name):
    output = meter.mpremote("mount", TESTS, "exec", RUN_MOUNTED.format(name=name))
    count, failed = re.search(r"^(\d+) run (\d+) failed$", output, re.M).groups()
    assert int(count) > 0 and failed == "0", output
