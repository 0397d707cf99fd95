"""`prosumer verify` around the end of a month: tariff calendar, credit, coins, payments, a head meter, the feeder account shared out.

The same rules with a mistake in all meters at once, and transfers that a quorum signed falsely: each is found and named."""
import shutil

import pytest
from verify_kit import Forger, faults, month, play  # noqa: F401 (month is a fixture)

from prosumer_tools.verify.check import load_run, verify_run

SHARED = 6   # the first slot of July
OPERATOR = 255


def last(run):
    return list(load_run(run))[-1]


def test_a_month_ends_and_everything_holds(month):
    result = verify_run(month)
    assert result.faults == [] and result.counts["transfers"] == 7
    steps = list(load_run(month))
    entries = [(s.block.slot, e) for s in steps for e in s.outcome.entries]
    assert {e.kind for _, e in entries} == {"settled", "missing", "gap", "share", "payment"}
    assert [(slot, e.member) for slot, e in entries if e.kind == "share"] == [(SHARED, m) for m in range(5)], "not the head meter"
    shares = {e.share_ucr for _, e in entries if e.kind == "share"}
    assert len(shares) == 1 and shares.pop() != 0
    assert [(slot, e.payment_ucr) for slot, e in entries if e.kind == "payment"] == [(4, 1_500_000), (5, -400_000)]
    lost = [s.outcome.lost for s in steps]
    assert sum(mwh > 0 for mwh, _ in lost) > 6 and all(ucr > 0 for mwh, ucr in lost if mwh > 9)
    rates = {s.block.slot: s.outcome.lost[1] / s.outcome.lost[0] for s in steps if s.outcome.lost[0] > 99}
    assert round(rates[4], 2) == .32 and round(rates[12], 2) == .18, "at the retail price of the evening, and of the night"


def test_what_a_month_moved_adds_up(month):
    balances = [0] * 6
    for step in load_run(month):
        for member, sums in step.outcome.by_member().items():
            balances[member] += sum(sums.values())
    assert balances == last(month).balances_ucr


# what is changed in all meters → where it shows, and how
CHEATS = {"share": (SHARED, "state root"), "losses": (2, "state root"), "flat": (0, "clear at"), "gap": (None, "state root"),
          "accuracy": (None, "state root"), "credit": (None, "the member's credit is"), "sell": (None, "neither generates nor stores"),
          "coins": (None, "of coins, 0 are held")}


@pytest.mark.parametrize("cheat", CHEATS)
def test_meters_that_all_have_the_same_wrong_rule(cheat, tmp_path):
    found = faults(play(tmp_path / "run", "month", cheat))
    slot, text = CHEATS[cheat]
    assert found and text in "\n".join(found), found
    assert slot is None or found[0].startswith(f"block {slot}:"), found


FORGED = {
    "unfunded": ("member 0", {"amount": 1 << 40, "seq": 3}, "of coins, "),
    "retired already": ("member 1", {"member": 1, "to": 2, "amount": 250000, "seq": 1}, "of coins, "),
    "replayed": ("member 0", {"seq": 1}, "has sequence number 1, 3 is next"),
    "a number left out": ("member 0", {"seq": 4}, "has sequence number 4, 3 is next"),
    "stolen": ("member 1", {"seq": 3}, "signature does not match"),
    "nothing": ("member 0", {"seq": 3, "amount": 0}, "too little or too much"),
    "huge": ("member 0", {"seq": 3, "amount": (1 << 64) - 1}, "too little or too much"),
    "to nobody": ("member 0", {"seq": 3, "to": 6}, "goes to nobody"),
    "to oneself": ("member 0", {"seq": 3, "to": 0}, "to their owner"),
    "for another": ("member 0", {"seq": 3, "kind": 1}, "for somebody else"),
    "paid in by a member": ("member 0", {"seq": 3, "kind": 2}, "not for a member"),
    "given by the operator": ("operator", {"member": OPERATOR, "seq": 2}, "not for the operator"),
    "paid out without cover": ("operator", {"member": OPERATOR, "seq": 2, "kind": 3, "amount": 10**9}, "pays out"),
    "paid by somebody": ("member 0", {"member": OPERATOR, "seq": 2, "kind": 2}, "signature does not match"),
    "from nobody": ("member 0", {"member": 9}, "from nobody"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_transfer_that_a_quorum_signed_falsely(name, month, tmp_path):
    run = shutil.copytree(month, tmp_path / "run", ignore=shutil.ignore_patterns("flash"))
    by, fields, text = FORGED[name]
    forger = Forger(run, 5)
    forger.transfer(by, **fields)
    forger.write()
    found = faults(run)
    assert len(found) == 1 and "transfer" in found[0] and text in found[0], found


def test_a_good_transfer_is_missed_in_the_state_only(month, tmp_path):
    run = shutil.copytree(month, tmp_path / "run", ignore=shutil.ignore_patterns("flash"))
    forger = Forger(run, 5)
    forger.transfer("member 0", seq=3)
    forger.write()
    assert [f.split(": ", 1)[1] for f in faults(run)] == ["header: state root is not that of the accounts, positions and commits after this block"]
