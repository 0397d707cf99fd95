"""The local guard: keeps the house inside its limits between clearings, whatever was traded.

One pure decision a tick, from what is measured now to what each device may do, so it needs no memory, cannot oscillate
and is in force within the tick. Cuts come in the order that hurts least: the car waits, the battery helps, and only then
generation is limited or loads are shed. Powers are mW; devices are positive when they take.
"""
from prosumer.records import ROLE_GENERATES, ROLE_HEAD, ROLE_LEFT


def allowance(genesis, member, limits_mwh, fills):
    """(import_mwh, export_mwh) that a member may use of a slot: what it traded, and its share of what the clearing left free.

    `limits_mwh`: the feeder's (import, export); `fills`: {member: (bought, sold)} of the slot. Free capacity is shared by fuse:
    of import among all, of export among those who generate, less 1/32 of the limit because buyers may take less than they
    bought. With all trades taken up, the allowances together never exceed what the wires carry.
    """
    net = sum([bought - sold for bought, sold in fills.values()])
    bought, sold = fills.get(member, (0, 0))
    fuses = exporting = 0
    for _, roles, fuse_a, _ in genesis.members:
        if roles & (ROLE_HEAD | ROLE_LEFT):
            continue
        fuses += fuse_a
        exporting += fuse_a if roles & ROLE_GENERATES else 0
    _, roles, fuse_a, _ = genesis.members[member]
    import_mwh = bought + max(0, limits_mwh[0] - max(0, net)) * fuse_a // (fuses or 1)
    export_mwh = sold + (max(0, limits_mwh[1] - limits_mwh[1] // 32 - max(0, -net)) * fuse_a // exporting if roles & ROLE_GENERATES else 0)
    return import_mwh, export_mwh


def guard(import_limit_mw, export_limit_mw, load_mw, pv_mw, ev_mw, battery_mw,
          ev_max_mw=0, charge_max_mw=0, discharge_max_mw=0):
    """(ev_mw, battery_mw, pv_limit_mw, shed_mw) that keep the house within its limits.

    `load_mw` and `pv_mw` are measured (None: the meter is blind), `ev_mw` and `battery_mw` what the policy wants,
    `ev_max_mw` what the car could still take (0 when none is plugged), `charge_max_mw` and `discharge_max_mw` what the battery
    can now. `pv_limit_mw` is what the inverter may generate, which may be more than it does; `shed_mw` is load to switch off.
    A limit of None (nobody said, not even the genesis' safe default): devices draw nothing and nothing is fed in.
    """
    export_limit_mw = max(0, export_limit_mw or 0)
    if load_mw is None or pv_mw is None:
        # Blind: nothing that could be moving stays on, and what generates stays below what may leave the house.
        return 0, 0, export_limit_mw, 0
    import_limit_mw = max(0, load_mw - pv_mw if import_limit_mw is None else import_limit_mw)
    ev_mw = min(max(0, ev_mw), max(0, ev_max_mw))
    battery_mw = min(max(battery_mw, -max(0, discharge_max_mw)), max(0, charge_max_mw))
    over = load_mw - pv_mw + ev_mw + battery_mw - import_limit_mw
    if over > 0:
        cut = min(over, ev_mw)
        ev_mw -= cut
        over -= cut
        cut = min(over, battery_mw + max(0, discharge_max_mw))
        battery_mw -= cut
        over -= cut
    under = pv_mw - load_mw - ev_mw - battery_mw - export_limit_mw
    if under > 0:
        # Giving to the feeder is the first thing to stop; then what is too much goes where it can be kept.
        more = min(under, max(0, -battery_mw))
        battery_mw += more
        under -= more
        more = min(under, max(0, ev_max_mw) - ev_mw)
        ev_mw += more
        under -= more
        battery_mw += min(under, max(0, charge_max_mw) - battery_mw)
    pv_limit_mw = max(0, export_limit_mw + load_mw + ev_mw + battery_mw)
    return ev_mw, battery_mw, pv_limit_mw, max(0, over)
