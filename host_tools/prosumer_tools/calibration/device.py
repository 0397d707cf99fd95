"""What the meter on a serial port does for its calibration: measure with what it has, and store what is better.

Both are scripts that mpremote runs on the meter, with the firmware's own modules; the agent stands still meanwhile, and its registers
are not touched.
"""
import json

from prosumer_tools.meter_port import PortError, mpremote

LONGEST_S = 40  # of a measurement: mpremote is given a minute
# no_load_mw is taken out, so that an offset below it is seen. At least 12 windows: of a windowed front end each is a short one.
_MEASURE = """
import json
import board
from prosumer.errors import Halt, Reject
def measure(settings, seconds):
    try:
        with open("/config.json") as f:
            settings = json.load(f)
    except OSError:
        pass
    hal = board.hal()
    channels = board.channels(settings)
    c = board.calibration(settings)
    own, own_hash = json.dumps(c.to_dict()), c.hash()
    for entry in c.currents:
        entry["no_load_mw"] = 0
    if hasattr(hal, "meter"):
        meter = hal.meter(channels, c)
    else:
        from prosumer.metering.meter import Meter
        meter = Meter(channels, hal.rate_hz, c)
    width = 2 * len(channels)
    buf = bytearray(max(hal.frames_max, 1) * width)
    now = hal.now_ms()
    end = now + 1000 * seconds
    taken = 0
    while now < end or taken < 12:
        hal.wait(now + min(hal.window_ms, 250))
        hal.feed()
        frames, covers_ms = hal.read_window(buf)
        if hal.lost:
            meter.lost(hal.lost)
        if frames:
            meter.window(memoryview(buf)[:frames * width], frames, covers_ms)
            taken += 1
        now = hal.now_ms()
        if now > end + 30000:
            raise Reject("front-end-silent")
    r = meter.close_interval()
    r["calibration"] = "".join(["%02x" % b for b in own_hash])
    return {"reading": r, "calibration": json.loads(own), "channels": channels, "best": getattr(board, "BEST_CLASS", "B")}
try:
    print(json.dumps(measure(json.loads(SETTINGS), SECONDS)))
except (Halt, Reject) as e:
    print(json.dumps({"refused": str(e)}))
except KeyError as e:
    print(json.dumps({"refused": "its board has no clamp " + str(e.args[0])}))
except (ImportError, AttributeError, OSError) as e:
    print(json.dumps({"refused": repr(e)}))
"""
_STORE = """
import json, os
import board
from prosumer.errors import Halt, Reject
from prosumer.metering.calibration import Calibration
def store(text, settings):
    d = json.loads(text)
    c = Calibration.from_dict(d)
    hal = board.hal()
    if hasattr(hal, "meter"):
        hal.meter([tuple(x) for x in settings], c)  # a chip that cannot be set so refuses it now, and not at every start
    with open("/calibration.json~", "w") as f:
        json.dump(d, f)
    os.rename("/calibration.json~", "/calibration.json")
    with open("/calibration.json") as f:
        h = Calibration.from_dict(json.load(f)).hash()
    return {"hash": "".join(["%02x" % b for b in h])}
try:
    print(json.dumps(store(TEXT, CHANNELS)))
except (Halt, Reject) as e:
    print(json.dumps({"refused": str(e)}))
"""


REASONS = {
    "calibration-range": "the metering chip cannot hold this gain or this phase (2.2 degrees at most): a smaller burden makes a clamp lead less",
    "calibration-damaged": "its /calibration.json is damaged: delete it, and calibrate again",
    "front-end-silent": "no samples come from its converter: check the wiring",
    "meter-chip-silent": "its metering chip does not answer: check the wiring", "meter-chip-wrong": "another chip than its metering chip answers",
}


class Refused(Exception):
    """The meter cannot do it; the text is its reason."""


def measure(port, channels, seconds):
    """{"reading": as Meter.close_interval, "calibration": in use, "channels": [[name, role], …], "best": class}"""
    settings = repr(json.dumps({"channels": channels, "name": "", "devices": {}}))
    return _ask(port, _MEASURE.replace("SETTINGS", settings).replace("SECONDS", str(min(LONGEST_S, max(1, round(seconds))))))


def store(port, calibration, channels):
    """Write /calibration.json, whole or not at all; the hash that the meter will name in its readings. channels: as `measure` gave them."""
    return _ask(port, _STORE.replace("TEXT", repr(json.dumps(calibration))).replace("CHANNELS", repr(channels)))["hash"]


def restart(port):
    mpremote(port, "reset", soft_reset=False)


def _ask(port, script):
    output = mpremote(port, "exec", script)
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise PortError(f"the meter on {port} answered {output.strip()[-80:]!r}")
    answer = json.loads(lines[-1])
    if "refused" in answer:
        reason = answer["refused"]
        raise Refused(f"the meter refuses: {reason}" + (f": {REASONS[reason]}" if reason in REASONS else ""))
    return answer
