"""Days of a street of sixteen meters in which everything fails in turn: how many slots stay without a block, and how soon it is whole again.

    python tests/soak_street.py [--days 3] [--members 16] [--seed 1] [--minutes M] [--json FILE]

The real firmware in emulated meters, slots of 15 minutes, 100 ms from meter to meter. All the time each clock drifts by its own rate of up to
±100 ppm and is set right once an hour, by 1 ms a second as the boards do; one meter's time server stays silent all the time, so that it
drifts on. Each day brings kills of single meters for 1 to 90 minutes, restarts of the broker, partitions with a quorum on one side and
without a quorum on any, and clocks that step by ±2 and ±20 s for an hour. One meter is without power for a whole day; on the last day the broker
is gone for a quarter of a day, which is an outage for everybody.

`recovery` is the time from when a fault ends until each meter that it touched says its finalize vote again, and in how many slots after
the fault's end it did not. A void slot is one without a final block. Where no quorum is connected at a gate no block can be: such slots are
told apart (`no quorum`) from those that were lost although there was one. At the end the whole run is checked by `prosumer verify`.

Last result (16 members, seed 1, the first 233 slots of 3 days, with windows of a minute; stopped by time, so without the table of recoveries): 8
slots without a block (3.4 %), all of them in partitions that left 7 to 10 connected of the 11 that a quorum takes; none was lost although there was
a quorum, nor by 16 kills, 10 restarts of the broker, 9 steps of a clock, or a meter's day without power. That was before members could change: since
then sixteen meters whose clocks drift run out of memory when they propose, from the third slot on, and stay off (heap of 256 KiB); without the
drift they go on.
"""
import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "host_tools"), str(ROOT / "tests/host")]

from street_kit import START_S, Game
from prosumer_tools.verify.check import verify_run

SLOT_S = 900
GATE_S = 90        # before the end of a slot
DAY = 86400 // SLOT_S
DELAY_MS = 100
WINDOW_MS = 300_000  # one window of samples stands for five minutes: what is soaked is the agreement
FINALIZE = 1


def drift(rate_ppm, phase_s):
    """The error of a clock that drifts and is set right once an hour at `phase_s`, by 1 ms a second."""
    def error_ms(now_ms):
        since_s = (now_ms / 1000 - phase_s) % 3600
        before = rate_ppm * 3.6  # ms that it was off when it was set
        left = max(0.0, abs(before) - since_s) * (1 if before > 0 else -1)
        return left + rate_ppm * since_s / 1000
    return error_ms


class Soak(Game):
    """`timeline`: [(second, what, who, lasts_s)] from the start of slot 0; `what` names a method begin_… with its end_…"""

    def __init__(self, folder, count, slots, timeline, seed=1, ends=None):
        self.random, self.ends = random.Random(seed), ends  # monotonic time from which no further slot begins
        self.timeline, self.out_of_order = timeline, {}
        self.finalized = {}   # name → [virtual ms of its finalize votes]
        self.events = []      # (kind, names, began_ms, ended_ms)
        self.away = {}        # name → reasons for which it is not there
        self.present = {}     # slot → members that are connected and powered at its gate
        super().__init__(folder, count, slots, network={"delay_ms": DELAY_MS, "heard": self.heard_vote}, slot_s=SLOT_S,
                         window_ms=WINDOW_MS)
        self.rates = {name: self.random.uniform(-100, 100) for name in self.houses}

    async def _enrol(self):
        sup = self.supervisor
        record = await super()._enrol()
        for i, name in enumerate(self.houses):
            self.set_right(name, silent=i == 1)
        for slot in range(self.slots + 1):
            sup.at((START_S + (slot + 1) * SLOT_S - GATE_S) * 1000, lambda slot=slot: self.at_gate(slot))
        for second, what, who, lasts_s in self.timeline:
            sup.at((START_S + second) * 1000, lambda w=what, n=who: getattr(self, "begin_" + w)(n))
            sup.at((START_S + second + lasts_s) * 1000, lambda w=what, n=who, s=second: self.end(w, n, (START_S + s) * 1000))
        return record

    def at_gate(self, slot):
        self.present[slot] = len([n for n in self.houses if not self.away.get(n)])
        if self.ends and time.monotonic() > self.ends:
            self.supervisor.until_ms = (START_S + (slot + 1) * SLOT_S) * 1000

    def set_right(self, name, silent=False):
        rate = self.rates[name]
        self.supervisor.set_clock(name, (lambda now: (now - START_S * 1000) * rate / 1e6) if silent else drift(rate, self.random.randrange(3600)))

    def end(self, what, who, began_ms):
        self.events.append((what, who, began_ms, self.supervisor.now_ms))
        return getattr(self, "end_" + what)(who)

    def leave(self, who, why):
        for name in who:
            self.away.setdefault(name, set()).add(why)

    def back(self, who, why):
        for name in who:
            self.away[name].discard(why)

    # the faults

    def begin_kill(self, who):
        self.leave(who, "power")
        for name in who:
            self.supervisor.kill(name)

    def end_kill(self, who):
        self.back(who, "power")
        self.supervisor.boot(*who)

    begin_day, end_day = begin_kill, end_kill

    def begin_partition(self, who):
        self.leave(who, "line")
        self.network.down(*who)

    def end_partition(self, who):
        self.back(who, "line")
        self.network.up(*who)

    begin_split, end_split = begin_partition, end_partition

    def begin_broker(self, who):
        self.leave(self.houses, "broker")
        self.supervisor.broker.stop()
        self.network.cut(*self.houses)

    async def end_broker(self, who):
        self.back(self.houses, "broker")
        self.supervisor.broker.start()
        while not self.client.is_connected():  # the recorder must not miss the block that follows
            await asyncio.sleep(0.02)

    begin_outage, end_outage = begin_broker, end_broker

    def begin_step(self, who):
        name, by_ms = who
        before = self.supervisor.devices[name].error_ms
        self.supervisor.set_clock(name, lambda now: before(now) + by_ms)

    def end_step(self, who):
        self.set_right(who[0])

    # what is heard

    def heard_vote(self, name, kind, topic, payload):
        if kind == "vote":
            plain = self.feeder_keys.open(kind, int(topic.split("/")[3]), payload)
            if plain[1] == FINALIZE:
                self.finalized.setdefault(name, []).append(self.supervisor.now_ms)


def timeline(days, names, seed):
    """Faults by day, none in the last hour; [(second, what, who, lasts_s)]."""
    rnd, out = random.Random(f"faults {seed}"), []
    third = (len(names) - 1) // 3
    for day in range(days):
        base = day * 86400
        at = [base + 1800 + 3600 * hour + rnd.randrange(1800) for hour in range(20)]
        rnd.shuffle(at)
        for _ in range(6):
            out.append((at.pop(), "kill", (rnd.choice(names[2:]),), rnd.choice((60, 600, 1800, 5400))))
        for _ in range(3):
            out.append((at.pop(), "broker", (), rnd.choice((20, 120, 600))))
        second = at.pop() // SLOT_S * SLOT_S + SLOT_S - GATE_S - 1
        out.append((second, "broker", (), 5))  # it restarts in the middle of the agreement
        out.append((at.pop(), "partition", tuple(rnd.sample(names[2:], third)), 2 * SLOT_S))
        out.append((at.pop(), "split", tuple(rnd.sample(names[2:], len(names) // 2)), 2 * SLOT_S))
        for by_ms in (2000, -2000, 20000, -20000):
            out.append((at.pop(), "step", (rnd.choice(names[2:]), by_ms), 3600))
    if days > 1:
        out.append((6 * 3600, "day", (names[0],), 86400))
        out.append((days * 86400 - 8 * 3600, "outage", (), 6 * 3600))
    quiet = days * 86400 - 5400
    return sorted((s, w, who, min(lasts, quiet - s)) for s, w, who, lasts in out if s < quiet - 60)


TITLES = {"kill": "meter without power, 1 to 90 min", "day": "meter without power, a day", "broker": "broker away, 5 to 600 s",
          "outage": "broker away, hours", "partition": "a third cut off for 30 min", "split": "half cut off for 30 min",
          "step": "clock steps by ±2, ±20 s, an hour"}


def play(folder, count=16, days=3, seed=1, faults=None, slots=None, minutes=None):
    """Figures of one soak; `faults`: a timeline of one's own; `minutes`: of wall time, after which the slot that is played is the last."""
    names = [h.name for h in Game(Path(folder) / "names", count, 2).street.homes]
    slots = slots or days * DAY - 1
    began = time.monotonic()
    game = Soak(Path(folder) / "run", count, slots, timeline(days, names, seed) if faults is None else faults, seed,
                began + minutes * 60 if minutes else None)
    asyncio.run(game.run())
    result = verify_run(game.out)
    run = json.loads((game.out / "run.json").read_text())
    blocks = {int(p.stem[6:]) for p in (game.out / "records").glob("block-*.bin")}
    quorum = count - (count - 1) // 3
    slots = max(game.present)
    void = [s for s in range(slots + 1) if s not in blocks]
    no_quorum = [s for s in void if game.present[s] < quorum]
    return {"members": count, "slots": slots + 1, "void": len(void), "no_quorum": len(no_quorum),
            "lost": [s for s in void if s not in no_quorum], "faults": recovery(game), "verified": result.ok,
            "verify_faults": [str(f) for f in result.faults][:5], "final_slots": {n: s["final_slot"] for n, s in run["states"].items()},
            "counts": _sum(run["states"]), "heap_free": min(s["heap_free"] for s in run["states"].values()),
            "wall_s": round(time.monotonic() - began)}


def _sum(states):
    total = {}
    for state in states.values():
        for code, number in state["counts"].items():
            total[code] = total.get(code, 0) + number
    return dict(sorted(total.items()))


def recovery(game):
    """{kind: {"times", "seconds": [to the first finalize vote of each touched meter], "slots_missed": […]}}, counted from a fault's end."""
    out = {}
    for what, who, _, ended_ms in game.events:
        touched = [who[0]] if what == "step" else list(who) or list(game.houses)
        row = out.setdefault(what, {"times": 0, "seconds": [], "slots_missed": []})
        row["times"] += 1
        for name in touched:
            if game.away.get(name):
                continue  # away for another reason at the end
            votes = [t for t in game.finalized.get(name, ()) if t >= ended_ms]
            if votes:
                next_gate_s = (ended_ms // 1000 - START_S + GATE_S) // SLOT_S * SLOT_S + SLOT_S - GATE_S
                row["seconds"].append((votes[0] - ended_ms) / 1000)
                row["slots_missed"].append(max(0, int((votes[0] / 1000 - START_S - next_gate_s) // SLOT_S)))
            else:
                row["slots_missed"].append(-1)
    return out


def show(r):
    print(f"{r['members']} members, {r['slots']} slots of 15 minutes: {r['void']} without a block ({100 * r['void'] / r['slots']:.1f} %), "
          f"of which {r['no_quorum']} without a quorum on one side; lost although there was one: {len(r['lost'])} {r['lost'] or ''}")
    print(f"{'fault':36}{'times':>7}{'meters':>8}{'back after, s: median':>23}{'longest':>9}{'slots missed: most':>20}")
    for what, title in TITLES.items():
        row = r["faults"].get(what)
        if row:
            times = sorted(row["seconds"]) or [0]
            print(f"{title:36}{row['times']:>7}{len(row['slots_missed']):>8}{times[len(times) // 2]:>23,.0f}{times[-1]:>9,.0f}"
                  f"{max(row['slots_missed'], default=0):>20}")
    print(f"prosumer verify: {'whole' if r['verified'] else 'FAULTS ' + '; '.join(r['verify_faults'])}; last final slot of each meter "
          f"{min(r['final_slots'].values())} to {max(r['final_slots'].values())}; least free heap {r['heap_free']:,} B; {r['wall_s']} s")
    print("counted by the meters: " + ", ".join(f"{code} {number}" for code, number in r["counts"].items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="of wall time, after which it ends with what was played")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = play(folder, options.members, options.days, options.seed, minutes=options.minutes)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if figures["verified"] and not figures["lost"] else 1


if __name__ == "__main__":
    sys.exit(main())
