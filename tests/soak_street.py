"""Days of a street of sixteen meters in which everything fails in turn: how many slots stay without a block, and how soon it is whole again.

    python tests/soak_street.py [--days 3] [--members 16] [--seed 1] [--minutes M] [--json FILE]

The real firmware in emulated meters, slots of 15 minutes, 100 ms from meter to meter. All the time each clock drifts by its own rate of up to
±100 ppm and is set right once an hour, by 1 ms a second as the boards do; one meter's time server stays silent all the time, so that it
drifts on. Each day brings kills of single meters for 1 to 90 minutes, restarts of the broker, partitions with a quorum on one side and
without a quorum on any, and clocks that step by ±2 and ±20 s for an hour. One meter is without power for a whole day; on the first day the broker
is gone for four hours, which is an outage for everybody.

`recovery` is the time from when a fault ends until each meter that it touched says its finalize vote for a block that was not final then: it
has the whole chain again, has executed the block and votes. Mostly that is at the next gate, up to 15 minutes later; so also told is how
many seconds after that gate (after the fault's end, where an agreement was under way), and how many blocks became final after the fault without
the meter's vote. A void slot is one without a final block. Where no quorum is connected at a gate no block can be: such slots are told apart
(`no quorum`) from those that were lost although there was one. Time stands still while a meter computes, so boot and execution take none here.
At the end the whole run is checked by `prosumer verify`.

Last result (seed 1, all three days, 2,127 s on a busy machine; afterwards only the certificates kept in memory went from eight to two): 288 slots, 24 void
(8.3 %), 23 of them without a quorum (16 in the outage); lost although there was one: 1 (81); `prosumer verify`: whole; least free heap 29,696 B.

    fault                              times  meters  votes again after, s: median    most  after the gate, s: median   most  blocks missed: most
    meter without power, 1 to 90 min      15      15                           316     866                        0.2    6.8                    0
    meter without power, a day             1       1                           810     810                        0.1    0.1                    0
    broker away, 5 to 600 s               12     187                           256  19,803                        0.6   26.4                   19
    broker away, hours                     1      15                           823     823                       12.9   12.9                    0
    a third cut off for 30 min             3      15                           487     790                        0.6    0.9                    0
    half cut off for 30 min                3      24                           341     650                        0.5    0.6                    0
    clock steps by ±2, ±20 s, an hour     12      12                           435     895                        0.2  770.0                    0

What is not good: behind the outage slot 81 was lost, and five of the sixteen learned of 7 to 19 blocks without having voted for them (the 19,803 s). For
want of heap, while the readings of hours wait and trade begins again (`no-memory`, 303 times in all): an outage of 16 slots alone, in a street of 16, costs one or
two slots more than those without a quorum, five to eight slots behind it. Fewer late readings in a block or in the pool do not change that.
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
        self.random, self.began = random.Random(seed), time.monotonic()
        self.ends = ends  # monotonic time from which no further slot begins
        self.timeline = timeline
        self.finalized = {}   # name → {iteration: virtual ms of its first finalize vote}
        self.events = []      # (kind, names, began_ms, ended_ms)
        self.absences = {}    # name → [[why, from ms, to ms]]: without power, line or broker
        self.present = {}     # slot → members that are connected and powered at its gate
        self.broker_away = 0  # faults that hold it
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
        self.present[slot] = len([n for n in self.houses if not self.away(n, self.supervisor.now_ms)])
        if slot % DAY == 0:
            print(f"day {slot // DAY + 1}, {time.monotonic() - self.began:.0f} s", flush=True)
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
            self.absences.setdefault(name, []).append([why, self.supervisor.now_ms, None])

    def back(self, who, why):
        for name in who:
            for each in self.absences[name]:
                if each[0] == why and each[2] is None:
                    each[2] = self.supervisor.now_ms

    def away(self, name, now_ms):
        return any(began <= now_ms and (ended is None or now_ms < ended) for _, began, ended in self.absences.get(name, ()))

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
        self.broker_away += 1
        if self.broker_away == 1:
            self.leave(self.houses, "broker")
            self.supervisor.broker.stop()
            self.network.cut(*self.houses)

    async def end_broker(self, who):
        self.broker_away -= 1
        if self.broker_away:
            return
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
                self.finalized.setdefault(name, {}).setdefault(int.from_bytes(plain[2:6], "big"), self.supervisor.now_ms)


def timeline(days, names, seed):
    """Faults by day, none in the last hour; [(second, what, who, lasts_s)]. On the first of several days the outage."""
    rnd, out = random.Random(f"faults {seed}"), []
    third = (len(names) - 1) // 3
    for day in range(days):
        base = day * 86400
        hours = [h for h in range(22) if not 13 <= h < 18] if days > 1 and not day else range(20)
        at = [base + 1800 + 3600 * hour + rnd.randrange(1800) for hour in hours]
        rnd.shuffle(at)
        for name in rnd.sample(names[2:], min(6, third)):
            out.append((at.pop(), "kill", (name,), rnd.choice((60, 600, 1800, 5400))))
        for _ in range(3):
            out.append((at.pop(), "broker", (), rnd.choice((20, 120, 600))))
        second = at.pop() // SLOT_S * SLOT_S + SLOT_S - GATE_S - 1
        out.append((second, "broker", (), 5))  # it restarts in the middle of the agreement
        out.append((at.pop(), "partition", tuple(rnd.sample(names[2:], third)), 2 * SLOT_S))
        out.append((at.pop(), "split", tuple(rnd.sample(names[2:], len(names) // 2)), 2 * SLOT_S))
        for name, by_ms in zip(rnd.sample(names[2:], 4), (2000, -2000, 20000, -20000)):
            out.append((at.pop(), "step", (name, by_ms), 3600))
    if days > 1:
        out.append((3600, "day", (names[0],), 86400))
        out.append((14 * 3600, "outage", (), 4 * 3600))
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
            "lost": [s for s in void if s not in no_quorum], "faults": recovery(game, blocks), "verified": result.ok,
            "verify_faults": [str(f) for f in result.faults][:5], "final_slots": {n: s["final_slot"] for n, s in run["states"].items()},
            "counts": _sum(run["states"]), "heap_free": min(s["heap_free"] for s in run["states"].values()),
            "wall_s": round(time.monotonic() - began)}


def _sum(states):
    total = {}
    for state in states.values():
        for code, number in state["counts"].items():
            total[code] = total.get(code, 0) + number
    return dict(sorted(total.items()))


def recovery(game, blocks):
    """{kind: {"times", "seconds", "late_s", "missed": one number a meter that it touched, "never": names}}; see above."""
    def gate_ms(slot):
        return (START_S + (slot + 1) * SLOT_S - GATE_S) * 1000

    count, said, out = len(game.houses), {}, {}
    for votes in game.finalized.values():
        for iteration, at_ms in votes.items():
            said.setdefault(iteration, []).append(at_ms)
    final_ms = {h: sorted(times)[count - (count - 1) // 3 - 1] for h, times in said.items() if len(times) >= count - (count - 1) // 3}
    for what, who, _, ended_ms in game.events:
        row = out.setdefault(what, {"times": 0, "seconds": [], "late_s": [], "missed": [], "never": []})
        row["times"] += 1
        first = (ended_ms // 1000 - START_S + GATE_S) // SLOT_S  # the slot whose gate is next
        old = max([h for h, at_ms in final_ms.items() if at_ms < ended_ms], default=0)
        for name in [who[0]] if what == "step" else list(who) or list(game.houses):
            if game.away(name, ended_ms):
                continue  # for another reason
            again = min([t for h, t in game.finalized.get(name, {}).items() if t >= ended_ms and h > old], default=None)
            could = [s for s in sorted(blocks) if s >= first and not game.away(name, gate_ms(s)) and (not again or gate_ms(s + 1) <= again)]
            row["missed"].append(len(could))
            if again:
                since = max([ended_ms] + [gate_ms(s) for s in range(first, max(game.present) + 1) if gate_ms(s) <= again])
                row["seconds"].append((again - ended_ms) / 1000)
                row["late_s"].append((again - since) / 1000)
            elif could:
                row["never"].append(name)
    return out


def show(r):
    print(f"{r['members']} members, {r['slots']} slots of 15 minutes: {r['void']} without a block ({100 * r['void'] / r['slots']:.1f} %), "
          f"of which {r['no_quorum']} without a quorum on one side; lost although there was one: {len(r['lost'])} {r['lost'] or ''}")
    print(f"{'fault':36}{'times':>6}{'meters':>7}{'votes again after, s: median':>30}{'most':>7}{'after the gate, s: median':>27}{'most':>7}"
          f"{'blocks missed: most':>21}{'never':>7}")
    for what, title in TITLES.items():
        row = r["faults"].get(what)
        if row:
            times, late = sorted(row["seconds"]) or [0], sorted(row["late_s"]) or [0]
            print(f"{title:36}{row['times']:>6}{len(row['missed']):>7}{times[len(times) // 2]:>30,.0f}{times[-1]:>7,.0f}"
                  f"{late[len(late) // 2]:>27,.1f}{late[-1]:>7,.1f}{max(row['missed'], default=0):>21}{len(row['never']):>7}")
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
    never = [name for row in figures["faults"].values() for name in row["never"]]
    return 0 if figures["verified"] and not figures["lost"] and not never else 1


if __name__ == "__main__":
    sys.exit(main())
