"""A receipt shows what its owner shows and no more: leaf by leaf, byte by byte, and against whoever guesses at the hashes beside them."""
import hashlib
import itertools
import struct

import pytest
import receipt_reference
from chain_kit import key
from test_receipt import command, reference, same, street
from verify_kit import run  # noqa: F401 (fixture)

from prosumer_tools.archive import format, receipts, trees
from prosumer_tools.archive.chain import Refused
from prosumer_tools.commands import check_receipt, receipt

MEMBER, SLOT = 2, 5


@pytest.fixture(scope="module")
def eight():
    """Member 2's reading of slot 4 comes a block late, together with the one of slot 5: after block 5 it has two open trades."""
    paper, archive, feeder = street(8, 5)
    body, kept = paper.body, []

    def late(slot):
        parts = body(slot)
        mine = [r for r in parts[3] if r[1] == MEMBER]
        kept.extend(mine)
        parts[3] = [r for r in parts[3] if r[1] != MEMBER] + (kept if slot > 5 else [])
        parts[3].sort(key=lambda r: r[1:10])
        if slot > 5:
            kept.clear()
        return parts
    paper.body = late
    for _ in range(4):
        archive.take(feeder, *paper.block())
    return paper, archive, feeder


def leaves(archive, feeder, member=MEMBER, slot=SLOT):
    """{what: its bytes in the block where a receipt shows it}"""
    before, after = (archive.block(feeder, archive.height_of(feeder, s))[2] for s in (slot - 1, slot))
    cleared, settled = (archive.block(feeder, archive.height_of(feeder, s))[0] for s in (slot - 1, slot + 1))
    return {"rules": before[0], "trade": before[format.trade_place(member)], "account": after[format.account_place(member)],
            "open": after[format.open_place(member)], "order": [o.bytes() for o in cleared.orders if o.member == member][0],
            "reading": [r.bytes() for r in settled.readings if (r.member, r.slot) == (member, slot)][0]}


def test_every_choice_shows_just_what_it_names(eight):
    paper, archive, feeder = eight
    there = leaves(archive, feeder)
    assert all(len(data) >= 18 for data in there.values()), "there is something to show of each"
    assert len(there["open"]) == 2 + 2 * 16
    choices = [c for k in range(1, 7) for c in itertools.combinations(receipts.SHOW, k)]
    made = [receipts.receipt(archive, feeder, MEMBER, SLOT, show) for show in choices]
    for show, data, found in zip(choices, made, check_receipt.check(made, paper.record), strict=True):
        assert "refused" not in found, (show, found)
        same(found, reference(data, paper.record))
        for what, leaf in there.items():
            assert (leaf in data) == (what in show) == (found[what] is not None), (what, show)
        assert (found["money"] is not None) == ({"trade", "reading"} <= set(show)), "money follows from both"


def test_the_bytes_hold_no_balance_and_no_other_trade():
    """Every member, every slot; nobody's fields, however they are packed, beside those of the slot itself."""
    _, archive, feeder = street(8, 9)
    for member, slot in itertools.product(range(8), range(3, 8)):
        data = receipts.receipt(archive, feeder, member, slot)
        own = leaves(archive, feeder, member, slot)
        assert own["trade"] in data
        seen = 0
        for block in (slot - 1, slot, slot + 1):
            books = archive.books_before(feeder, archive.height_of(feeder, block) + 1)
            for m, account in enumerate(books.accounts):
                for size, value in ((">q", account.balance_ucr), (">Q", account.green_mwh), (">q", -account.balance_ucr)):
                    assert not value or struct.pack(size, value) not in data
            for s, (_, fills) in books.positions.items():
                for m, fill in fills.items():
                    if (m, s) != (member, slot):
                        seen += 1
                        assert struct.pack(">II", *fill) not in data and struct.pack(">I", max(fill)) not in data, (m, s)
        assert seen > 30


def test_the_leaf_beside_it_cannot_be_guessed(eight):
    """The price of the slot before stands in a header and energy is a small number: with its salt the neighbour is found at once,
    with anything that a receipt shows in its place it is not."""
    _, archive, feeder = eight
    height = archive.height_of(feeder, SLOT - 1)
    block, _, state = archive.block(feeder, height)
    index = format.trade_place(MEMBER)
    beside = format.open_place(MEMBER)
    assert index == beside + 1 and beside % 2 == 0, "brothers in the tree"
    data = receipts.receipt(archive, feeder, MEMBER, SLOT, "trade")
    salt = trees.leaf_salt(block.salt, format.STATE, index)
    at = data.index(salt) + 16 + 2 + len(state[index])
    sibling = data[at + 1:at + 33]
    slot, price, bought, sold = struct.unpack(">IIII", state[beside][2:])
    assert slot == SLOT - 1 and sold and not bought, "what the guesser is after"
    guesses = [struct.pack(">HIIII", 1, slot, price, 0, e) for e in range(sold - 20, sold + 20)]

    def found(salts):
        return [g for s in salts for g in guesses if hashlib.sha256(b"\0" + s + g).digest() == sibling]

    assert found([trees.leaf_salt(block.salt, format.STATE, beside)]) == [state[beside]], "the guesser's method works"
    windows = {data[i:i + 16] for i in range(len(data) - 15)} | {bytes(16), b""}
    derived = {trees.leaf_salt(w, tree, i) for w in windows for tree in (b"b", b"S", b"s") for i in (beside, index)}
    assert not found(windows | derived)
    assert block.salt not in windows


def test_what_is_not_there_is_refused_and_not_shown_as_nothing(eight):
    paper, archive, feeder = eight
    for show, slot, why in (("account", 9, "there is no account to show: slot 9 has no block"), ("rules", 0, "slot -1 has no block"),
                            ("order", 1, "there is no order of member 2 in slot 1"), ("balance", 4, "a receipt cannot show balance; it can show order, trade"),
                            ("", 4, "cannot show nothing")):
        with pytest.raises(Refused, match=why):
            receipts.receipt(archive, feeder, MEMBER, slot, show)
    first = check_receipt.check([receipts.receipt(archive, feeder, MEMBER, 1)], paper.record)[0]
    assert first["order"] is None and first["trade"]["sold_mwh"] == 0 and first["reading"]


def test_a_receipt_of_somebody_elses_leaf_or_of_the_older_layout_is_refused(eight):
    paper, archive, feeder = eight
    height = archive.height_of(feeder, SLOT - 1)
    others = [receipts.build(archive, feeder, MEMBER, SLOT, [(height, format.STATE, i)]) for i in range(len(archive.block(feeder, height)[2]))]
    found = check_receipt.check(others, paper.record)
    taken = [i for i, f in enumerate(found) if "refused" not in f]
    assert taken == [format.RULES, format.trade_place(MEMBER)]
    assert [i for i, data in enumerate(others) if reference(data, paper.record)] == taken
    data = receipts.receipt(archive, feeder, MEMBER, SLOT, "trade")
    place = struct.pack(">cHH", b"S", format.trade_place(MEMBER), 27)
    assert data.count(place) == 1
    old, body, further = (data.replace(place, struct.pack(">cHH", *changed)) for changed in (
        (b"s", format.trade_place(MEMBER), 27), (b"b", format.trade_place(MEMBER), 27), (b"S", format.open_place(MEMBER), 27)))
    assert [f["refused"] for f in check_receipt.check([old, body, further], paper.record)] == ["older-layout", "proof-wrong", "proof-wrong"]
    assert not any(reference(x, paper.record) for x in (old, body, further))
    assert "older version" in check_receipt.REASONS["older-layout"]


def test_rules_prove_entry_tariff_and_envelope_before_and_after_an_amendment():
    """Genesis number 1 has another tariff, and one member has left; the operator's envelope holds for some slots."""
    paper, archive, feeder = street(5, 6)
    amendment = paper.amend(retail=300_000, left=(3,))
    for _ in range(4):
        archive.take(feeder, *paper.block())
    made = [receipts.receipt(archive, feeder, m, slot, "rules") for m, slot in ((1, 4), (1, 9), (3, 9))]
    before, after, gone = check_receipt.check(made, paper.record, [amendment])
    for data, found in zip(made, (before, after, gone)):
        same(found, receipt_reference.check(data, paper.record, [amendment]))
    assert (before["rules"]["number"], before["rules"]["retail_ucr_per_kwh"], after["rules"]["number"], after["rules"]["retail_ucr_per_kwh"]) == (
        0, 250_000, 1, 300_000)
    assert (after["rules"]["fuse_a"], after["rules"]["roles"], gone["rules"]["roles"] & 128) == (63, 0, 128)
    assert (after["rules"]["import_limit_mwh"], after["rules"]["export_limit_mwh"]) == (20_000_000, 20_000_000), "none signed: the safe default"
    assert check_receipt.check(made[1:2], paper.record)[0] == {"refused": "strange-regime"}
    said = check_receipt.words.text(after)
    assert "genesis number 1 was in force after block 8: member 1 takes only, fuse 63 A, phase 1" in said
    assert "tariff of slot 9: retail 0.30 EUR/kWh, feed-in 0.08 EUR/kWh" in said and "up to 20.00 kWh in and 20.00 kWh out" in said


def test_an_operators_envelope_stands_in_the_state():
    paper, archive, feeder = street(4, 4)
    body = paper.body

    def limited(slot):
        raw = struct.pack(">BIIII", 4, slot + 1, slot + 1, 345_000, 678_000)
        envelope = raw + key("operator").sign(b"prosumer/envelope/v1\0" + feeder + raw)
        return [[envelope], *body(slot)[1:]]
    paper.body = limited
    archive.take(feeder, *paper.block())
    paper.body = body
    for _ in range(3):
        archive.take(feeder, *paper.block())
    made = [receipts.receipt(archive, feeder, 1, slot, "rules") for slot in (4, 5, 6)]
    assert [(f["rules"]["import_limit_mwh"], f["rules"]["export_limit_mwh"]) for f in check_receipt.check(made, paper.record)] == [
        (20_000_000, 20_000_000), (345_000, 678_000), (20_000_000, 20_000_000)]


def test_who_joins_later_is_shown_nothing_of_before():
    """Where its leaves would stand, the state before it has others' and the common accounts'."""
    paper, archive, feeder = street(5, 5)
    paper.amend(more=2)
    for _ in range(4):
        archive.take(feeder, *paper.block())
    for member, show in itertools.product((5, 6), ("trade", "account", "open")):
        with pytest.raises(Refused, match=f"there is no {show}"):
            receipts.receipt(archive, feeder, member, 3, show)
    assert receipts.receipt(archive, feeder, 5, 8, "account")


def test_all_of_it_at_40_members_still_fits():
    paper, archive, feeder = street(40, 7, steps=8)
    sizes = [len(receipts.receipt(archive, feeder, 3, 4, show)) for show in ("trade", receipts.SLOT, (*receipts.SLOT, "rules"), receipts.SHOW[:5])]
    assert sizes == sorted(sizes) and sizes[-1] <= 4096, sizes
    assert check_receipt.check([receipts.receipt(archive, feeder, 3, 4, receipts.SHOW[:5])], paper.record)[0]["account"]


def test_the_command_shows_what_is_asked_for(run, tmp_path, capsys):
    out, genesis = tmp_path / "r.bin", run / "genesis.bin"
    said = {}
    for show in ("trade", "order,trade,reading", "rules,account,open"):
        assert command(receipt, "receipt", run, "--member", 1, "--slot", 4, "--show", show, "--out", out) == 0
        capsys.readouterr()
        assert command(check_receipt, "check-receipt", out, "--genesis", genesis) == 0
        said[show] = capsys.readouterr().out
    assert "trade      " in said["trade"] and "reading" not in said["trade"].split("NOT SHOWN")[0] and "order  " not in said["trade"]
    hidden = said["trade"].split("NOT SHOWN")[1]
    for words in ("member 1's order", "the meter's reading", "balance, green coins and registers", "member 1's trades of other slots"):
        assert words in hidden, words
    assert "what it signed says its registers too" in said["order,trade,reading"]
    assert "balance and green coins;" in said["order,trade,reading"].split("NOT SHOWN")[1]
    shown = said["rules,account,open"].split("NOT SHOWN")[0]
    for words in ("rules      genesis number 0", "account    after block 4", "open       after block 4, of slots up to 4: slot 4: "):
        assert words in shown, words
    assert command(receipt, "receipt", run, "--member", 1, "--account", "--show", "open", "--out", out) == 0
    capsys.readouterr()
    assert command(check_receipt, "check-receipt", "--json", out, "--genesis", genesis) == 0
    assert '"balance_ucr"' in capsys.readouterr().out
    assert command(receipt, "receipt", run, "--member", 1, "--slot", 4, "--show", "all", "--out", out) == 2
    assert "cannot show all" in capsys.readouterr().err
    for account in ((), ("--account",)):
        assert command(receipt, "receipt", run, "--member", 1, "--slot", 4, "--show", "", *account, "--out", out) == 2
        assert "cannot show nothing" in capsys.readouterr().err
