"""What metering costs: processor time here, instructions on the chips, and the share of a core that follows."""
import sys
import tempfile
from pathlib import Path

from prosumer_tools.emulator import adc
from prosumer_tools.unixport import run_firmware

ROOT = Path(__file__).resolve().parent.parent.parent
COST = """
import sys
from array import array
from prosumer.metering import kernel
from prosumer.metering.calibration import Calibration
from prosumer.metering.meter import Meter
what, windows, currents = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
calibration = Calibration.nominal([{"gain_nv": 190000000}], [{"gain_na": 48000000, "max_ma": 63000, "skew_ns": 50000}] * currents)
meter = Meter([("v", "voltage")] + [("i", "load")] * currents, 8000, calibration)
with open(sys.argv[4], "rb") as f:
    buf = f.read()
meter.window(buf, 1600)
if what == "all":
    for k in range(windows):
        meter.window(buf, 1600)
elif what == "kernel":
    for k in range(windows):
        for c in meter._all:
            c.add(buf, c.sums, 100, 1600)
            c.sums[:] = meter._all[0].edge
        kernel.crossing(100, 1600, buf, meter._cross, array("i", [1 << 24, 0, 1 << 24, 1 << 23, 0, 0]))
elif what == "loop":
    def loop(n):
        s = 0
        for k in range(n):
            s = s + k * 3 - 1
    loop(windows * 1000)
"""
CLOCK = 240e6
CLOCKS_PER_INSTRUCTION = 1.5  # in-order core, code and data in internal RAM: 1, plus taken branches and loads that are waited for
LOOP_US = 5.5  # one turn of the loop above in MicroPython on an ESP32 at 240 MHz: ten byte codes of about 130 clocks


def cost():
    """Processor time on this machine, instructions a frame on the chips, and the share of a core at 240 MHz that follows.

    The kernel's share is counted instructions times clocks an instruction. The rest is interpreted, a few hundred byte codes
    and some big integers twice a second: measured here in turns of a plain loop, and worth so many turns there."""
    import resource

    sys.path.insert(0, str(ROOT / "tests/host"))
    import test_meter_machines as machines

    def cpu(what, windows, currents, file):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        run_firmware(COST, args=[what, windows, currents, file], heap="256K")
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before

    out = {}
    with tempfile.TemporaryDirectory() as folder:
        per_frame = machines.instructions_per_frame(Path(folder))
        for currents in (1, 2):
            file = Path(folder) / "samples"
            file.write_bytes(adc.ModelledADC().samples(0, 1600, [adc.sine(230.0)], [adc.sine(10)] * currents))
            start = min(cpu("none", 0, currents, file) for _ in range(3))
            windows = 2000
            everything, inner = (min(cpu(w, windows, currents, file) for _ in range(3)) - start for w in ("all", "kernel"))
            turn = (min(cpu("loop", windows, currents, file) for _ in range(3)) - start) / windows / 1000
            second = {arch: 8000 * ((1 + 4 * currents) * c["add_dot"] + c["crossing"]) for arch, c in per_frame.items()}
            rest = max(0.0, everything - inner * 1600 / 1500) / windows * 5 / turn
            out[f"{1 + currents} channels"] = {
                "samples_per_s_here": round(windows * 1600 * (1 + currents) / everything),
                "kernel_instructions_per_frame": {a: round(n / 8000) for a, n in second.items()},
                "kernel_share_of_core": {a: round(n * CLOCKS_PER_INSTRUCTION / CLOCK, 4) for a, n in second.items()},
                "interpreted_loop_turns_per_s": round(rest), "interpreted_share_of_core": round(rest * LOOP_US * 1e-6, 4)}
    return out
