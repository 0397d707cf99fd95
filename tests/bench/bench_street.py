"""What a street of emulated meters costs: eight meters of the demo street from 11:00 on, behind each broker in turn.

    python tests/bench/bench_street.py [--slots 8] [--json FILE]

Time and CPU are of the trading alone: from the first slot to the last, without image, boot and enrolment. CPU of a meter is
its own process', CPU of the host is the plant, the virtual clock and the recorder (the brokers are processes of their own).
Heap: `code` is in use when all modules are imported, `data` is what comes on top at most, seen after collections. On the 64-bit
Unix port a word takes 8 bytes; a 32-bit board needs about 1/1.44 of it. Messages are those that meters published.
"""
import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "host_tools"))

from prosumer_tools.emulator.broker import KINDS, mosquitto
from prosumer_tools.image import BUILD
from prosumer_tools.profiles import demo_profiles, demo_street
from prosumer_tools.street.play import Street

HEAP_TOTAL = 259_072      # bytes that `-X heapsize=256K` leaves to objects
TO_32_BIT = 1.44          # heap of the same program on 64 and on 32 bits
BUDGET_KIB = 112          # of .mpy in all
FROM_S = 11 * 3600        # noon: everybody trades
_HOST_KINDS = ("weather", "envelope")


def noon(profiles):
    """The profiles from FROM_S after their start on."""
    first = FROM_S // profiles.step_s
    cut = [{name: series[first:] for name, series in of.items()} for of in (profiles.load_mw, profiles.pv_mw)]
    return replace(profiles, start_s=profiles.start_s + FROM_S, load_mw=cut[0], pv_mw=cut[1])


class Watch:
    """Counts bytes by kind beside the recorder and takes the clocks when the trading begins."""

    def __init__(self, game):
        self.game, self.bytes, self.messages, self.cpu, self.host = game, {}, {}, {}, 0
        game.say, game.on_ready = lambda text: None, self.ready

    def ready(self, game):
        take = game.recorder.take

        def counted(topic, payload):
            parts = topic.split("/")
            kind = parts[2]
            self.bytes[kind] = self.bytes.get(kind, 0) + len(payload)
            self.messages[kind] = self.messages.get(kind, 0) + 1
            take(topic, payload)

        game.recorder.take = counted
        self.cpu = {name: device.counters()["cpu_s"] for name, device in game.supervisor.devices.items()}
        self.host = time.process_time()


def play(broker, slots):
    """Figures of one run behind one broker."""
    with tempfile.TemporaryDirectory() as folder:
        game = Street(demo_street(), noon(demo_profiles(cache_dir=BUILD / "profiles")), Path(folder) / "run", slots, broker=broker)
        watch = Watch(game)
        asyncio.run(game.run())
        run = json.loads((game.out / "run.json").read_text())
        blocks = len(list((game.out / "records").glob("block-*.bin")))
    host_s = time.process_time() - watch.host
    played, meters = run["slots"] + 1, len(run["homes"])
    cpu = {name: d["cpu_s"] - watch.cpu[name] for name, d in run["devices"].items()}
    kinds = [k for k in watch.messages if k not in _HOST_KINDS]
    heap = {}
    for name, state in run["states"].items():
        used, code = HEAP_TOTAL - state["heap_free"], state.get("heap_code")
        heap[name] = {"used": used, "code": code, "data": None if code is None else used - code}
    return {
        "broker": broker, "meters": meters, "slots": played, "blocks": blocks, "wall_s": run["played_s"],
        "wall_s_per_slot": run["played_s"] / played, "wall_s_per_slot_and_meter": run["played_s"] / played / meters,
        "times_real_time": played * run["slot_minutes"] * 60 / run["played_s"],
        "cpu_s_per_meter_and_slot": statistics.median(cpu.values()) / played, "cpu_s_worst_meter": max(cpu.values()) / played,
        "host_cpu_s_per_slot": host_s / played, "heap": heap, "mpy_bytes": run["mpy_bytes"],
        "messages": {k: watch.messages[k] / meters / played for k in kinds},
        "message_bytes": {k: watch.bytes[k] / meters / played for k in kinds}, "lost_clock": run["lost_clock"],
        "void_slots": played - blocks,
        "sent_minus_seen": sum(s["sent"] for s in run["states"].values())
        - sum(v for k, v in run["messages"].items() if k not in _HOST_KINDS)}


def show(figures):
    runs = figures["runs"]
    first = runs[0]
    print(f"{first['meters']} meters, slots of 15 minutes, from 11:00; {first['slots']} slots a run")
    print(f"{'broker':34}" + "".join(f"{r['broker']:>12}" for r in runs) + (f"{'ratio':>9}" if len(runs) == 2 else ""))
    for name, label in (("wall_s_per_slot", "wall s a slot"), ("wall_s_per_slot_and_meter", "wall s a slot and meter"),
                        ("times_real_time", "times real time"), ("cpu_s_per_meter_and_slot", "CPU s a meter and slot, median"),
                        ("cpu_s_worst_meter", "CPU s a slot, dearest meter"), ("host_cpu_s_per_slot", "CPU s of the host a slot"),
                        ("void_slots", "slots without a block"), ("lost_clock", "messages the clock missed"),
                        ("sent_minus_seen", "sent, not seen by the recorder")):
        values = [r[name] for r in runs]
        ratio = f"{values[0] / values[1]:>9.2f}" if len(runs) == 2 and values[1] and name[-4:] not in ("lots", "lock", "seen") else ""
        print(f"{label:34}" + "".join(f"{v:>12}" if type(v) is int else f"{v:>12.3f}" for v in values) + ratio)
    print(f"\nheap, bytes, of {HEAP_TOTAL:,}, both runs: the most of each meter\n{'meter':12}{'code':>10}{'data':>10}{'used':>10}"
          f"{'free':>10}{'code/1.44':>12}{'data/1.44':>12}{'used/1.44':>12}")
    for name in first["heap"]:
        rows = [r["heap"][name] for r in runs if name in r["heap"]]
        code, data, used = (max((row[k] or 0) for row in rows) for k in ("code", "data", "used"))
        print(f"{name:12}{code:>10,}{data:>10,}{used:>10,}{HEAP_TOTAL - used:>10,}"
              + "".join(f"{v / TO_32_BIT:>12,.0f}" for v in (code, data, used)))
    total = sum(first["mpy_bytes"].values())
    print(f"\n{'.mpy of a package':24}{'bytes':>10}{'of budget':>11}")
    for name, size in first["mpy_bytes"].items():
        print(f"{name:24}{size:>10,}{size / BUDGET_KIB / 10.24:>10.1f}%")
    print(f"{'all':24}{total:>10,}{total / BUDGET_KIB / 10.24:>10.1f}%   of {BUDGET_KIB} KiB")
    print(f"\n{'messages a meter and slot':28}" + "".join(f"{r['broker']:>12}{'bytes':>9}" for r in runs))
    for kind in sorted({k for r in runs for k in r["messages"]}):
        print(f"{kind:28}" + "".join(f"{r['messages'].get(kind, 0):>12.2f}{r['message_bytes'].get(kind, 0):>9.0f}" for r in runs))
    print(f"{'all':28}" + "".join(f"{sum(r['messages'].values()):>12.2f}{sum(r['message_bytes'].values()):>9.0f}" for r in runs))
    if len(runs) == 1:
        print("mosquitto is not installed: no peer for the broker")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--json", metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    figures = {"runs": [play(kind, options.slots) for kind in KINDS if kind != "mosquitto" or mosquitto()]}
    show(figures)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
