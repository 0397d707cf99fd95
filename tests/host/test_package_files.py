"""The other ways onto a board: package.json (mip) and manifest.py (frozen) name every module there is, and mip installs them."""
import ast
import asyncio
import hashlib
import http.server
import json
import shutil
import sys
import threading

import pytest
from emulator_kit import START_MS
from prosumer_tools import image
from prosumer_tools.commands.image import BUDGET_BYTES
from prosumer_tools.emulator.supervisor import Supervisor

PACKAGE = image.FIRMWARE / "package.json"
MODULES = sorted(path.relative_to(image.FIRMWARE).as_posix() for path in (image.FIRMWARE / "prosumer").rglob("*.py"))


def test_every_module_is_in_the_package():
    expected = {"urls": [[name, name] for name in MODULES], "deps": [["umqtt.simple", "1.8.0"]], "version": "0.1.0"}
    text = json.dumps(expected, indent=1).replace("[\n   ", "[").replace(",\n   ", ", ").replace("\n  ]", "]") + "\n"
    assert PACKAGE.read_text() == text, f"write this into {PACKAGE}:\n{text}"


def test_the_manifest_freezes_the_package_and_asks_for_umqtt():
    asked = []
    names = {name: lambda *a, name=name, **k: asked.append((name, *a)) for name in ("metadata", "require", "package")}
    exec(compile((image.FIRMWARE / "manifest.py").read_text(), "manifest.py", "exec"), names)
    assert ("require", "umqtt.simple") in asked and ("package", "prosumer") in asked and len(asked) == 3


def test_boards_that_are_flashed_build_for_their_processor(tmp_path):
    flashed = [path.parent.name for path in image.BOARDS.glob("*/board.json") if "chip" in json.loads(path.read_text())]
    assert "ESP32_S3_METER" in flashed
    for name in flashed:
        built = image.build_image(name, out=tmp_path / name)
        march = json.loads((image.BOARDS / name / "board.json").read_text())["march"]
        fs = image.filesystem(built.path.read_bytes())
        with fs.open("prosumer/identity/sha512.mpy", "rb") as file:
            assert file.read(3)[2] >> 2 & 15 == {"xtensawin": 10, "rv32imc": 11}[march]
        assert "prosumer/hal/esp32.mpy" in built.files and "prosumer/hal/unix.mpy" not in built.files
        assert (image.BOARDS / name / "board.md").read_text().count("has not run on hardware") == 1


@pytest.mark.parametrize("name", sorted(path.parent.name for path in image.BOARDS.glob("*/board.json")))
def test_nothing_in_an_image_imports_at_its_head_what_the_image_goes_without(name):
    without = set(json.loads((image.BOARDS / name / "board.json").read_text())["without"])
    assert without <= set(MODULES)
    sources = [image.FIRMWARE / module for module in MODULES if module not in without] + [image.BOARDS / name / "board.py"]
    for path in [*sources, image.FIRMWARE / "main.py"]:
        for node in ast.parse(path.read_bytes()).body:
            if isinstance(node, ast.ImportFrom):
                folder = path.parent.relative_to(image.FIRMWARE).as_posix() + "/" if node.level else ""
                module = folder + (node.module or "").replace(".", "/")
                asked = {module + ".py", *(f"{module.rstrip('/')}/{a.name}.py" for a in node.names)}
                assert not asked & without, f"{path.name} of {name} needs {asked & without}"


@pytest.fixture
def index(tmp_path):
    """A package index as mip expects one, with umqtt.simple in it; its URL."""
    source = image.fetch_umqtt()
    short = hashlib.sha256(source).hexdigest()[:8]
    root = tmp_path / "index"
    package = root / "package" / "6" / "umqtt.simple" / "1.8.0.json"
    package.parent.mkdir(parents=True)
    package.write_text(json.dumps({"v": 1, "hashes": [["umqtt/simple.py", short]], "deps": [], "version": "1.8.0"}))
    (root / "file" / short[:2]).mkdir(parents=True)
    (root / "file" / short[:2] / short).write_bytes(source)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Quiet(*a, directory=root)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_mip_installs_it_on_a_meter_as_on_any_board(tmp_path, index):
    blank = image.filesystem()
    blank.unmount()
    (tmp_path / "blank.img").write_bytes(bytes(blank.context.buffer))
    shutil.copytree(image.FIRMWARE, tmp_path / "firmware", ignore=shutil.ignore_patterns("__pycache__"))

    async def scenario():
        async with Supervisor(tmp_path / "run", tmp_path / "blank.img", START_MS, broker=None) as street:
            device = street.add("m", bytes(6))
            street.boot()
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "mpremote", "connect", device.console.path, "mip", "--index", index, "install", "./package.json",
                "+", "exec", "from umqtt.simple import MQTTClient; from prosumer.codec import Cursor; print('imported')",
                cwd=tmp_path / "firmware", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT)
            output, _ = await asyncio.wait_for(process.communicate(), 180)
            text = output.decode()
            assert process.returncode == 0 and text.rstrip().endswith("imported"), text[-2000:]
            street.kill("m")
            return device.flash

    flash = asyncio.run(scenario())
    assert set(flash.names()) == {"/lib/umqtt/simple.py"} | {f"/lib/{name}" for name in MODULES}
    for name in MODULES:
        assert flash.read(f"lib/{name}") == (tmp_path / "firmware" / name).read_bytes()


@pytest.mark.parametrize("name", sorted(path.parent.name for path in image.BOARDS.glob("*/board.json")))
def test_the_firmware_of_every_board_fits_its_budget(tmp_path, name):
    built = image.build_image(name, out=tmp_path / name)
    assert sum(size for package, size in built.packages.items() if package.startswith("prosumer")) <= BUDGET_BYTES
