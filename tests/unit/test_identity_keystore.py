"""The key store: one identity for one device, whatever happens to its file; and the guard on the entropy."""
import io
import os
import sys
from binascii import hexlify
from hashlib import sha256

from prosumer.errors import Halt
from prosumer.identity import entropy
from prosumer.identity.keystore import KeyStore

_PATH = "identity_test.seed"
_ID = b"\x24\x0a\xc4\x12\x34\x56"


class Source:
    """A healthy source that repeats itself from test to test, and remembers what it gave."""

    def __init__(self, seed):
        self.state = seed

    def __call__(self, n):
        self.state = sha256(self.state).digest()
        return sha256(self.state + b"out").digest()[:n]


def _seed_of(source_seed):
    """The 32 bytes that a store draws first from such a source."""
    return entropy.draw(Source(source_seed), 32)


def _clean():
    for name in _PATH, _PATH + "~", _PATH + ".next", _PATH + ".next~":
        try:
            os.remove(name)
        except OSError:
            pass


def _halts(reason, call, *args):
    try:
        call(*args)
    except Halt as e:
        return e.args == (reason,)
    return False


def _file(data=None):
    if data is None:
        with open(_PATH, "rb") as f:
            return f.read()
    with open(_PATH, "wb") as f:
        f.write(data)


def test_made_once_and_opened_again():
    _clean()
    try:
        store = KeyStore(_PATH, _ID)
        assert not store.exists()
        assert _halts("key-store-missing", store.open)
        assert _halts("key-store-missing", store.public)
        public = store.create(Source(b"a"))
        assert store.exists()
        assert store.public() == public == store.open().public == KeyStore(_PATH, _ID).open().public
        assert _halts("key-store-exists", store.create, Source(b"b"))
        assert store.open().public == public
        assert _seed_of(b"a") not in _file()
        assert _seed_of(b"a") != _seed_of(b"b")
    finally:
        _clean()


def test_no_damage_goes_unseen_or_makes_a_new_identity():
    _clean()
    try:
        store = KeyStore(_PATH, _ID)
        store.create(Source(b"a"))
        good = _file()
        for i in range(len(good)):
            bad = bytearray(good)
            bad[i] ^= 1 << (i & 7)
            _file(bad)
            assert _halts("key-store-damaged", store.open)
            assert _halts("key-store-exists", store.create, Source(b"b"))
        for bad in b"", good[:-1], good + b"\0", bytes(len(good)):
            _file(bad)
            assert _halts("key-store-damaged", store.open)
            assert _halts("key-store-damaged", store.public)
            assert _halts("key-store-exists", store.create, Source(b"b"))
            assert _file() == bad
        # A forger who mends the sum still meets the MAC.
        for i in range(3, 120):
            bad = bytearray(good[:-4])
            bad[i] ^= 4
            _file(bad + sha256(bad).digest()[:4])
            try:
                store.open()
                raise AssertionError(i)
            except Halt:
                pass
    finally:
        _clean()


def test_bound_to_device_and_pin():
    _clean()
    try:
        public = KeyStore(_PATH, _ID, b"4711").create(Source(b"a"))
        assert KeyStore(_PATH, _ID, b"4711").open().public == public
        assert KeyStore(_PATH, _ID).public() == public
        assert _halts("key-store-needs-pin", KeyStore(_PATH, _ID).open)
        assert _halts("key-store-wrong-pin-or-device", KeyStore(_PATH, _ID, b"4712").open)
        assert _halts("key-store-wrong-pin-or-device", KeyStore(_PATH, b"other ", b"4711").open)
        _clean()
        public = KeyStore(_PATH, _ID).create(Source(b"a"))
        assert _halts("key-store-wrong-pin-or-device", KeyStore(_PATH, b"other ").open)
        assert KeyStore(_PATH, _ID, b"any").open().public == public  # sealed without a PIN, opened without one
    finally:
        _clean()


def test_a_pin_is_asked_for_only_when_it_is_needed():
    _clean()
    asked = []

    def pin():
        asked.append(1)
        return b"4711"

    try:
        store = KeyStore(_PATH, _ID, pin)
        public = store.create(Source(b"a"))
        assert store.open().public == public and not asked  # there is none yet
        bare = _file()
        store.protect(b"4711")
        assert _file() != bare and _seed_of(b"a") not in _file()
        assert _halts("key-store-needs-pin", KeyStore(_PATH, _ID).open)
        assert KeyStore(_PATH, _ID, pin).open().public == public and len(asked) == 1
        assert _halts("key-store-wrong-pin-or-device", KeyStore(_PATH, _ID, lambda: b"4712").open)
        assert _halts("key-store-wrong-pin-or-device", KeyStore(_PATH, _ID, lambda: b"").open)
        assert _halts("key-store-wrong-pin-or-device", KeyStore(_PATH, _ID, b"4712").protect, None)
        for wrong in None, b"4712":
            try:
                KeyStore(_PATH, _ID, wrong).prepare(Source(b"b"))
                raise RuntimeError("prepared")
            except Halt:
                assert _halts("key-store-missing", KeyStore(_PATH, _ID, pin).prepared)
        KeyStore(_PATH, _ID, pin).protect(None)
        assert KeyStore(_PATH, _ID).open().public == public
    finally:
        _clean()


def test_replacement_takes_effect_at_once_and_for_good():
    _clean()
    try:
        store = KeyStore(_PATH, _ID)
        old = store.create(Source(b"a"))
        assert _halts("key-store-missing", store.replace)
        new = store.prepare(Source(b"b"))
        assert new != old and store.open().public == old
        assert store.prepare(Source(b"c")) == new == store.prepared().public
        assert store.replace().public == new == store.open().public
        assert _halts("key-store-missing", store.prepared)
    finally:
        _clean()


def test_erased_stays_erased():
    _clean()
    try:
        store = KeyStore(_PATH, _ID)
        public = store.create(Source(b"a"))
        store.prepare(Source(b"b"))
        store.erase()
        assert _halts("key-store-erased", store.open)
        assert _halts("key-store-missing", store.prepared)
        assert _halts("key-store-exists", store.create, Source(b"b"))
        assert store.public() == public
    finally:
        _clean()


def test_a_cut_before_the_rename_leaves_what_was():
    _clean()
    try:
        with open(_PATH + "~", "wb") as f:
            f.write(b"half a file")
        store = KeyStore(_PATH, _ID)
        assert not store.exists()
        public = store.create(Source(b"a"))
        with open(_PATH + "~", "wb") as f:
            f.write(b"half a file")
        assert store.open().public == public
    finally:
        _clean()


def test_the_seed_shows_nowhere():
    _clean()
    try:
        store = KeyStore(_PATH, _ID, b"4711")
        store.create(Source(b"a"))
        signer = store.open()
        shown = repr(store) + repr(signer) + repr(store.__dict__)
        try:
            KeyStore(_PATH, _ID, b"4712").open()
        except Halt as e:
            out = io.StringIO()
            sys.print_exception(e, out)
            shown += out.getvalue() + repr(e)
        seed = _seed_of(b"a")
        assert hexlify(seed).decode() not in shown and repr(seed)[2:-1] not in shown and "4712" not in shown
    finally:
        _clean()


def test_entropy_that_is_dead_stuck_or_biased_is_refused():
    healthy = b"".join(sha256(bytes((i,))).digest() for i in range(32))
    entropy.check(healthy)
    assert _halts("entropy-repeats", entropy.check, bytes(1024))
    assert _halts("entropy-repeats", entropy.check, healthy[:500] + b"\x55" * 6 + healthy[506:])
    entropy.check(healthy[:500] + b"\x55" * 5 + healthy[505:])
    biased = bytearray(healthy)
    for i in range(0, 512, 16):  # every sixteenth byte the same as the window's first
        biased[i] = biased[0]
    assert _halts("entropy-biased", entropy.check, biased)
    assert _halts("entropy-repeats", entropy.draw, bytes, 32)
    assert _halts("entropy-short", entropy.draw, lambda n: b"x" * (n - 1), 32)
    store = KeyStore(_PATH, _ID)
    assert _halts("entropy-repeats", store.create, bytes)
    assert not store.exists()


def test_a_source_that_begins_anew_at_each_boot_gives_itself_away():
    path = "identity_test.entropy"
    try:
        entropy.prove(Source(b"x"), path)
        with open(path, "rb") as f:
            before = f.read()
        assert _halts("entropy-repeats", entropy.prove, Source(b"x"), path)
        assert _halts("entropy-repeats", entropy.prove, Source(b"x"), path)
        entropy.prove(Source(b"y"), path)
        with open(path, "rb") as f:
            assert f.read() != before
        assert _halts("entropy-repeats", entropy.prove, bytes, path)
    finally:
        os.remove(path)
