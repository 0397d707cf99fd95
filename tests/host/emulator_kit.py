"""What the emulator's tests share: an image with the small agent of data/emulator, and a street that runs it."""
import asyncio
import json
from pathlib import Path

from prosumer_tools import image
from prosumer_tools.emulator.device import FrontEnd
from prosumer_tools.emulator.supervisor import Supervisor

START_MS = 1_700_000_000_000
PERIOD_MS = 10_000
AGENT = Path(__file__).parent / "data" / "emulator" / "main.py"
FRONT_END = FrontEnd(rate_hz=4000, frames_max=400, window_ms=1000, channels=2)


def build(folder, main=None, **options):
    return image.build_image(out=Path(folder) / "test.img", extra={"boot.py": b"", "main.py": main or AGENT.read_bytes()}, **options)


class Street(Supervisor):
    """Devices h0, h1, … of the small agent."""

    def __init__(self, folder, main=None, **options):
        super().__init__(folder, build(folder, main).path, START_MS, front_end=FRONT_END, **options)

    def add_homes(self, count, **config):
        for i in range(count):
            port = self.network.lines[f"h{i}"].port if self.network else self.broker.port if self.broker else 0
            settings = {"name": f"h{i}", "port": port, "period_ms": PERIOD_MS, **config}
            self.add(f"h{i}", bytes([2, 0, 0, 0, 0, i]), files={"config.json": json.dumps(settings).encode()})

    async def live(self, periods):
        await asyncio.wait_for(self.run(self.now_ms + periods * PERIOD_MS), 180)

    def log_of(self, name):
        return self.devices[name].console.log_path.read_text(errors="replace")

    async def until(self, condition, seconds=30):
        """Wait (wall time) for a condition while the street lives on."""
        async def ask():
            while not condition():
                await asyncio.sleep(0.01)
        await asyncio.wait_for(ask(), seconds)


def run(scenario):
    """Run a coroutine function to its end in a loop of its own."""
    return asyncio.run(scenario())
