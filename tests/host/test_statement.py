"""Statements against the ledger's own balances: every micro-credit of a run is on one line, months join, the page prints."""
import csv
import re
import shutil
from types import SimpleNamespace

import pytest
from prosumer_tools.cli import main
from prosumer_tools.statements.accounts import FEEDER, MEMBER, Accounts, StatementError
from prosumer_tools.statements.page import render
from prosumer_tools.verify import records
from prosumer_tools.verify.books import Books
from prosumer_tools.verify.check import load_run
from verify_kit import day, month, run  # noqa: F401  (fixtures)

LEGS = ("trade_ucr", "loss_ucr", "fee_ucr", "imbalance_ucr", "penalty_ucr", "share_ucr", "payment_ucr")


def booked(folder):
    """The books of the ledger after the last block."""
    books = Books(records.genesis((folder / "genesis.bin").read_bytes()))
    for step in load_run(folder):
        books.apply(step.block, lambda record, text: None)
    return books


@pytest.mark.parametrize("which", ["day", "month"])
def test_every_micro_credit_and_every_coin_is_on_a_line(which, request):
    folder = request.getfixturevalue(which)
    accounts, books = Accounts(folder), booked(folder)
    assert sum(abs(a.balance_ucr) for a in books.accounts) > 0
    for name, account in zip(accounts.names, books.accounts, strict=True):
        statement = accounts.member(name)
        assert statement.closing_ucr == account.balance_ucr == statement.total("change_ucr")
        assert [line["coins_mwh"] for line in statement.lines][-1:] in ([], [account.green_mwh])
        assert statement.total("retired_mwh") == account.retired_mwh
        for line in statement.lines:
            assert line["change_ucr"] == sum(line[leg] for leg in LEGS)
    feeder = accounts.feeder()
    assert feeder.closing_ucr == books.feeder_ucr
    for line in feeder.lines:
        parts = ("rent_ucr", "loss_ucr", "fee_ucr", "penalty_ucr", "rounding_ucr")
        assert line["change_ucr"] - line["shared_ucr"] == sum(line[part] for part in parts) == line["utility_ucr"] + line["members_ucr"]
    settled = [line for line in feeder.lines if line["slot"] < feeder.lines[-1]["slot"] - 6]  # trades of a meter that was off are settled late
    assert all(0 <= line["rounding_ucr"] < 40 for line in settled), "at most two for each who traded, and never against the street"


def test_a_month_per_member_has_payments_coins_and_the_share(month):  # noqa: F811
    accounts = Accounts(month)
    june, july = (accounts.member(accounts.names[3], text) for text in ("2025-06", "2025-07"))
    assert accounts.months() == ["2025-06", "2025-07"]
    assert june.total("payment_ucr") == 1_100_000 and july.total("payment_ucr") == june.total("share_ucr") == 0
    assert july.total("share_ucr") != 0 and july.opening_ucr == june.closing_ucr
    shared = accounts.feeder("2025-07").total("shared_ucr")
    assert shared == -sum(accounts.member(n).total("share_ucr") for n in accounts.names) != 0
    giver, taker = accounts.member(accounts.names[0]), accounts.member(accounts.names[1])
    assert (giver.total("given_mwh"), taker.total("received_mwh"), taker.total("retired_mwh")) == (250_003, 250_000, 200_000)
    page = render(taker)
    assert "Green coins" in page and "used as certificates" in page and "share of the feeder account" in page
    assert "shared out among the members" in render(accounts.feeder("2025-07"), True)


def test_csv_and_page_of_all_accounts(run, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "st"
    assert main(["statement", str(run), "--out", str(out)]) == 0
    accounts = Accounts(run)
    assert {p.name for p in out.iterdir()} == {f"{n}.{kind}" for n in [*accounts.names, "feeder"] for kind in ("csv", "html")}
    for name in (accounts.names[0], "feeder"):
        with open(out / f"{name}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == (FEEDER if name == "feeder" else MEMBER)
        assert int(rows[-1]["balance_ucr"]) == sum(int(r["change_ucr"]) for r in rows)
        page = (out / f"{name}.html").read_text()
        assert "@media print" in page and not re.search(r"https?://|<script", page)


def test_months_join_without_a_gap(run):  # noqa: F811
    """A run that goes over midnight of a month's last day: the second statement opens where the first closed."""
    accounts = Accounts(run)
    name, whole = accounts.names[0], accounts.member(accounts.names[0])
    slots = sorted({line["slot"] for line in whole.lines})
    middle = slots[len(slots) // 2]
    accounts.genesis.start_s = 1_782_864_000 - middle * accounts.genesis.slot_s  # 1 July 2026 00:00 UTC at that slot
    accounts.genesis.utc_offset_min = 0
    first, second = (accounts.member(name, month) for month in ("2026-06", "2026-07"))
    assert accounts.months() == ["2026-06", "2026-07"]
    assert [line["slot"] for line in second.lines][0] == middle and first.lines
    assert first.opening_ucr == 0 and second.opening_ucr == first.closing_ucr and second.closing_ucr == whole.closing_ucr
    with pytest.raises(StatementError, match="2026-08"):
        accounts.member(name, "2026-08")


def test_page_rounds_to_cents_and_escapes():
    line = dict.fromkeys(MEMBER, 0) | {"start": "2026-06-11T00:00:00", "kind": "missing", "trade_ucr": -1_234_999, "change_ucr": -1_234_999,
                                     "balance_ucr": -1_234_999}
    page = render(SimpleNamespace(name="<b>", street="A & B", period="2026-06", opening_mwh=0, opening_ucr=5_000_000, closing_ucr=3_765_001, lines=[line],
                                  total=lambda column: line[column]))
    assert "&lt;b&gt;" in page and "A &amp; B" in page and "<b>" not in page
    assert "\u22121.23" in page and "1.234" not in page and "Thu 11 Jun 2026" in page and "1 slots were settled without" in page


def test_what_is_not_there_is_named(run, tmp_path, capsys):  # noqa: F811
    assert main(["statement", str(run), "--member", "nobody"]) == 2
    assert "no member 'nobody'; there are " in capsys.readouterr().err
    assert main(["statement", str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err
    shutil.rmtree(run / "records")
    assert main(["statement", str(run)]) == 2
    assert "no run here" in capsys.readouterr().err
