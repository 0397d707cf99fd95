"""`prosumer settle` as a person uses it."""
import argparse
import json

import pytest

from prosumer_tools.commands import settle

SLOT = {"tariff": {"retail_ucr_per_kwh": 300000, "feed_in_ucr_per_kwh": 80000, "local_fee_ucr_per_kwh": 20000},
        "price_ucr_per_kwh": 190000,
        "members": [{"member": 3, "bought_mwh": 10**6, "import_mwh": 10**6 + 5, "export_mwh": 0},
                    {"member": 1, "sold_mwh": 10**6, "missing": True, "generation_mwh": 9},
                    {"member": 2}]}


def run(slot, tmp_path, capsys):
    parser = argparse.ArgumentParser(prog="prosumer")
    settle.add_parser(parser.add_subparsers(required=True))
    path = tmp_path / "slot.json"
    path.write_text(json.dumps(slot))
    args = parser.parse_args(["settle", str(path)])
    code = args.run(args)
    out, err = capsys.readouterr()
    return code, out, err


def test_a_slot_is_settled(tmp_path, capsys):
    code, out, err = run(SLOT, tmp_path, capsys)
    assert (code, err) == (0, "")
    result = json.loads(out)
    one, two, three = result["members"]
    assert (one["member"], one["change_ucr"], one["imbalance_ucr"], one["green_mwh"]) == (1, -110000, -300000, 9)
    assert two["open"] and two["change_ucr"] == 0 and two["utility_only_ucr"] is None
    assert three == {"member": 3, "change_ucr": -210002, "trade_ucr": -190000, "loss_ucr": 0, "fee_ucr": -20000,
                     "imbalance_ucr": -2, "penalty_ucr": 0, "short_mwh": 5, "long_mwh": 0, "open": False,
                     "green_mwh": 0, "utility_only_ucr": -300002}
    assert result["sum_ucr"] == 0 and result["utility_ucr"] == 300001
    assert result["feeder"] == {"change_ucr": 20001, "rent_ucr": 0, "loss_ucr": 0, "fee_ucr": 20000, "penalty_ucr": 0,
                                "rounding_ucr": 1, "lost_mwh": 0}


@pytest.mark.parametrize("change, message", [
    ({"price_ucr_per_kwh": -1}, "price-out-of-bounds"),
    ({"price_ucr_per_kwh": 1.0}, "price_ucr_per_kwh must be a whole number"),
    ({"tariff": {"retail_ucr_per_kwh": 1, "feed_in_ucr_per_kwh": 2}}, "tariff-out-of-order"),
    ({"members": [{"member": 1, "bought_mwh": 1, "sold_mwh": 1}]}, "member 1: nobody buys and sells in one slot"),
    ({"members": [{"member": 1, "bought_mwh": -1}]}, "member 1: 'bought_mwh' must be a whole number from 0"),
    ({"members": [{"member": 1, "import_mwh": 1 << 30}]}, "member 1: 'import_mwh' must be a whole number from 0"),
    ({"members": [{"member": 1}, {"member": 1}]}, "member 1: is in the list twice"),
    ({"members": [{"member": 1, "missing": True, "import_mwh": 5}]}, "member 1: a missing reading has no import_mwh"),
    ({"members": [{"member": 1, "sold": 5}]}, "member 1: unknown 'sold'"),
    ({"members": [{"sold_mwh": 5}]}, "a member lacks 'member'"),
    ({"members": None}, "'members' must be a list"),
    ({"head_net_mwh": 1}, "head_net_mwh says nothing while"),
])
def test_bad_input_is_one_line_and_exit_2(change, message, tmp_path, capsys):
    code, out, err = run(dict(SLOT, **change), tmp_path, capsys)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("prosumer settle: ") and message in err
