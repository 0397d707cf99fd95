"""A street on paper in which every meter has the same wrong firmware: all agree, and only independent code can tell."""
from prosumer.identity.genesis import Genesis
from prosumer.ledger import block, pool
from prosumer.market import green
from prosumer.records import FAULTS


def _uncharged(genesis, state):
    state.lost_mwh = 0


def _unshared(genesis, state, slot):
    state.month = genesis.month(slot)


def _unchecked(state, t):
    """Coins from nothing."""
    giver, taker = state.accounts[t.member], state.accounts[t.to]
    giver.next_transfer += 1
    taker.green_mwh += t.amount


def _orders(*_):
    block.check_order = pool.check_order = lambda *_: None


def _set(owner, name, value):
    return lambda *_: setattr(owner, name, value)


# name → what is changed, given the street
CHEATS = {
    "share": _set(block, "_share", _unshared),
    "losses": _set(block, "_losses", _uncharged),
    "flat": _set(Genesis, "tariff", lambda self, slot: self),
    "gap": _set(Genesis, "dearest", lambda self: self),
    "accuracy": _set(block, "fault", lambda genesis, reading: reading.flags & FAULTS),
    "credit": _orders,
    "sell": _orders,
    "coins": lambda *_: None,
}


def late(name, s):
    """What somebody does with it, four slots before the end."""
    if name == "credit":
        s.meters[1].house.curve = lambda slot: ([(900000, 3600000)], [])
    elif name == "sell":
        s.meters[3].house.curve = lambda slot: ([], [(100000, 50000)])
    elif name == "coins":
        green.move = _unchecked
        s.transfer(3, 0, 0, 1, 777)
