"""`prosumer clear RUN --slot` and `prosumer settle RUN --slot`: the firmware's code again on what a run's blocks hold."""
import json

from verify_kit import day, month  # noqa: F401 (fixtures)

from prosumer_tools.cli import main
from prosumer_tools.commands.clear import clear_books
from prosumer_tools.commands.settle import settle_slots
from prosumer_tools.statements import slots
from prosumer_tools.verify.check import load_run


def test_every_slot_again_is_what_the_ledger_booked(day, month):
    for run in (day, month):
        steps = list(load_run(run))
        cleared = [s for s in steps if s.block.slot + 1 < steps[-1].block.slot]
        results = clear_books([slots.book_of(run, s.block.slot + 1) for s in cleared])
        for step, result in zip(cleared, results, strict=True):
            c = step.outcome.clearing
            assert (result["price_ucr_per_kwh"], result["volume_mwh"]) == (c.price_ucr_per_kwh, c.volume_mwh)
            assert {f["member"]: (f["bought_mwh"], f["sold_mwh"]) for f in result["fills"]} == c.fills
        settled = settle_slots([slots.slot_of(run, s.block.slot + 1) for s in cleared])
        for step, result in zip(cleared, settled, strict=True):
            slot, booked = step.block.slot + 1, {}
            for e in (e for s in steps for e in s.outcome.entries):
                if e.slot == slot and e.kind in ("settled", "missing", "penalty"):
                    booked[e.member] = booked.get(e.member, 0) + e.member_ucr
            for m in result["members"]:
                if not m["open"] and step.block.slot:
                    assert m["change_ucr"] == booked.get(m["member"], 0), (slot, m)
            assert result["sum_ucr"] == 0


def test_the_commands_on_a_run(month, capsys):
    assert main(["settle", str(month), "--slot", "9"]) == 0
    assert json.loads(capsys.readouterr().out)["sum_ucr"] == 0
    assert main(["clear", str(month), "--slot", "9"]) == 0
    assert json.loads(capsys.readouterr().out)["slot"] == 9
    for args, text in (([str(month)], "which --slot"), ([str(month), "--slot", "99"], "no block cleared slot 99; there are 1 to "),
                       ([str(month / "records"), "--slot", "1"], "no run here"), (["-", "--slot", "1"], "goes with the folder of a run")):
        assert main(["settle", *args]) == 2
        assert text in capsys.readouterr().err
