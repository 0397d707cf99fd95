"""`prosumer demo`: a June day in a street of eight homes at Carros, traded by eight meters.

Four roofs, a battery, a car, a shop. Generation from measured cloudiness and the sun's geometry, consumption from the
Richardson model. At noon the roofs would send more down the cable than it carries; the meters keep to its limit. In the
afternoon a roof gives green coins to a house without one, which uses them up; the operator books a deposit and pays out a part.
An archive follows the street; around noon a meter has no network for an hour and a half and catches up by proof; in the evening the
archive gives a receipt of the largest sale, which is checked with the genesis alone. Nobody lies in it: a liar's exclusion ends his
membership, and an ordinary day has none (tests/host/test_street_garbage.py plays one).
"""
from pathlib import Path

from prosumer_tools.commands import neighbourhood
from prosumer_tools.image import BUILD
from prosumer_tools.profiles import demo_profiles, demo_street
from prosumer_tools.street.follower import Follower

NOTE = ("Generation: cloudiness measured by NREL (SERF East), the sun at Carros (43.79 N 7.19 E) by pvlib. "
        "Consumption: Richardson's 1-minute model of households; the shop by the BDEW shape G4.")


def add_parser(subparsers):
    p = subparsers.add_parser("demo", help="a June day in a street of eight homes, traded by eight emulated meters",
                              description=__doc__.split("\n\n")[0])
    neighbourhood.common(p)
    p.set_defaults(run=run, out=Path("runs/demo"))
    for action in p._actions:
        if action.dest == "out":
            action.required = False


def run(args):
    profiles = demo_profiles(cache_dir=BUILD / "profiles")
    return neighbourhood.play(demo_street(), profiles, args, NOTE, script=_script)


def _script(game):
    names = list(game.houses)
    game.payments = [(8, "romarin", 5_000_000, "deposit June"), (76, "romarin", -1_500_000, "paid back")]
    game.requests = [(58, "olivier", {"give_mwh": 2_000_000, "to": names.index("figuier"), "for": "with thanks"}),
                     (66, "figuier", {"retire_mwh": 1_500_000, "for": "dishwasher June"})]
    game.follower = Follower()
    game.cut_off = absences(game.slots, game.slot_s)


def absences(slots, slot_s):
    """From 12:20 to 13:50, or in the middle of a shorter run; of seven meters six are still a quorum, and a house without a roof is hardly missed."""
    if slots * slot_s >= 16 * 3600:
        return [("cypres", 44_400, 49_800)]
    third = slots // 3
    return [("cypres", third * slot_s + slot_s // 3, 2 * third * slot_s + slot_s // 3)] if third > 1 else []
