"""One slot of a run as `prosumer clear` and `prosumer settle` read it: the book that was cleared, the fills and readings that were settled."""
from prosumer_tools.commands.clear import BadInput
from prosumer_tools.verify.check import BadRun, load_run
from prosumer_tools.verify.genesis import HEAD
from prosumer_tools.verify.records import Malformed


def _steps(run):
    try:
        return list(load_run(run))
    except (BadRun, Malformed, OSError) as e:
        raise BadInput(str(e)) from None


def _cleared(steps, run, slot):
    for step in steps:
        if step.block.slot + 1 == slot:
            return step
    raise BadInput(f"{run}: no block cleared slot {slot}; there are {steps[0].block.slot + 1} to {steps[-1].block.slot + 1}")


def _tariff(t):
    return {"retail_ucr_per_kwh": t.retail, "feed_in_ucr_per_kwh": t.feed_in, "min_price_ucr_per_kwh": t.min_price,
            "max_price_ucr_per_kwh": t.max_price, "local_fee_ucr_per_kwh": t.local_fee, "loss_per_mille": t.loss_per_mille}


def book_of(run, slot):
    step = _cleared(_steps(run), run, slot)
    limits = step.outcome.limits
    return {"slot": slot, "tariff": _tariff(step.outcome.tariff), "envelope": {"import_limit_mwh": limits[0], "export_limit_mwh": limits[1]},
            "orders": [{"member": o.member, "buy": [list(s) for s in o.buy], "sell": [list(s) for s in o.sell]} for o in step.block.orders]}


def slot_of(run, slot):
    """A member without a reading that settles has none here; energy that such a reading brings is settled beside the slot."""
    steps = _steps(run)
    step = _cleared(steps, run, slot)
    g, penalized = step.outcome.tariff, step.outcome.penalized
    read = {r.member: r for s in steps for r in s.block.readings if r.slot == slot and not r.faulty and r.accuracy >= g.accuracy}
    open_ = {m for m in step.outcome.clearing.fills if m not in read and not any(
        e.member == m and e.slot == slot and e.kind == "missing" for s in steps for e in s.outcome.entries)}
    members = []
    for m in range(g.n):
        if g.roles(m) & HEAD:
            continue  # no house
        bought, sold = step.outcome.clearing.fills.get(m, (0, 0))
        member = {"member": m, "bought_mwh": bought, "sold_mwh": sold, "penalty_ucr": g.penalty_ucr if m in penalized else 0}
        if m in read:
            r = read[m]
            member |= {"import_mwh": r.interval_import_mwh, "export_mwh": r.interval_export_mwh, "generation_mwh": r.interval_generation_mwh}
        elif m not in open_:
            member["missing"] = True
        members.append(member)
    return {"tariff": _tariff(g), "price_ucr_per_kwh": step.outcome.clearing.price_ucr_per_kwh, "members": members}


def chosen(args, path, read, of):
    """What the arguments name: a JSON file, or slot --slot of a run."""
    if not path.is_dir():
        if args.slot_of_run is not None:
            raise BadInput("--slot goes with the folder of a run")
        return read(str(path))
    if args.slot_of_run is None:
        raise BadInput(f"{path} is a run: which --slot of it?")
    return of(path, args.slot_of_run)
