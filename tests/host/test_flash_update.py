"""`prosumer flash --update`: new firmware for a meter that is in service; what it is and what it has counted stays."""
import asyncio

import pytest
from emulator_kit import START_MS
from prosumer_tools import cli, image
from prosumer_tools.commands import flash
from prosumer_tools.emulator.supervisor import Supervisor

OLD_MAIN = b"print('old firmware')\nimport time\nwhile True: time.sleep(1)\n"
KEEP = {"data/registers/0": b"\x01" * 600, "config.json": b"{}"}


def on_old_meter(tmp_path, scenario):
    async def run():
        async with Supervisor(tmp_path / "run", image.build_image().path, START_MS, broker=None) as street:
            old = {"main.py": OLD_MAIN, "prosumer/codec.py": b"old = 1\n"}
            device = street.add("m", bytes([2, 0, 0, 0, 0, 1]), files={**old, **KEEP})
            street.boot()
            while "old firmware" not in device.console.log_path.read_text(errors="replace"):
                await asyncio.sleep(0.02)
            await asyncio.wait_for(scenario(street, device), 180)
    asyncio.run(run())


def update(device, *arguments):
    return asyncio.to_thread(cli.main, ["flash", "--board", "EMULATED", "--port", device.console.path, "--update", *map(str, arguments)])


def test_what_differs_is_replaced_and_all_else_stays(tmp_path, capsys):
    async def scenario(street, device):
        assert await update(device) == 0
        assert "2 files brought up to date" in capsys.readouterr().out
        assert await update(device) == 0
        assert "nothing to do" in capsys.readouterr().out
        street.kill("m")
        built = image.build_image()
        for path, data in flash.files_of(built.path.read_bytes()).items():
            assert device.flash.read(path) == data
        assert device.flash.rom.read_bytes().startswith(built.rom.read_bytes())
        for path, data in KEEP.items():
            assert device.flash.read(path) == data
        names = device.flash.names()
        assert "/prosumer/codec.py" not in names and "/seed.key" in names and not [n for n in names if n.endswith("~")]

    on_old_meter(tmp_path, scenario)


def test_bytecode_that_differs_is_deployed_into_the_rom_partition(tmp_path, capsys):
    other = image.build_image(out=tmp_path / "other.img", extra={"main.py": b"import board\nboard.hal()\nprint('runs')\n"})
    code = image.romfs_files(other.rom.read_bytes())
    code["prosumer/newer.mpy"] = image.compile_module(b"news = 1\n", "newer.py", "x64")
    other.rom.write_bytes(image.romfs(code))

    async def scenario(street, device):
        assert await update(device, "--image", other.path) == 0
        assert "3 files brought up to date" in capsys.readouterr().out  # main.py, the old module, /rom
        assert await asyncio.to_thread(flash.mpremote, device.console.path, "exec", "from prosumer.newer import news; print(news)") == "1\n"
        assert other.rom.read_bytes() in device.flash.rom.read_bytes()

    on_old_meter(tmp_path, scenario)


def test_a_rom_half_written_when_the_power_went_is_brought_up_to_date_from_the_repl(tmp_path, capsys):
    async def scenario(street, device):
        street.kill("m")
        with open(device.flash.rom, "r+b") as file:
            file.write(b"\xff" * 40_000)
        street.boot("m")
        assert await update(device) == 0
        assert "3 files brought up to date" in capsys.readouterr().out
        street.kill("m")
        assert device.flash.rom.read_bytes().startswith(image.build_image().rom.read_bytes())
        assert device.flash.read("/data/registers/0") == KEEP["data/registers/0"]

    on_old_meter(tmp_path, scenario)


def test_a_copy_that_arrives_damaged_changes_nothing(tmp_path, capsys, monkeypatch):
    real = flash.mpremote

    def damaged(port, *command, **options):
        output = real(port, *command, **options)
        if "cp" in command:
            real(port, "exec", "f = open('/main.py~', 'a'); f.write('#'); f.close()", soft_reset=False)
        return output

    monkeypatch.setattr(flash, "mpremote", damaged)

    async def scenario(street, device):
        assert await update(device) == 2
        assert "/main.py did not arrive as it was sent; the meter keeps the firmware it had" in capsys.readouterr().err
        street.kill("m")
        assert device.flash.read("main.py") == OLD_MAIN

    on_old_meter(tmp_path, scenario)


def test_new_firmware_that_does_not_run_is_told(tmp_path, capsys):
    bad = image.build_image(out=tmp_path / "bad.img", extra={"main.py": b"print('HALT: no good')\n"})  # its ROMFS is beside it

    async def scenario(street, device):
        assert await update(device, "--image", bad.path) == 2
        assert "the meter does not run: HALT: no good" in capsys.readouterr().err

    on_old_meter(tmp_path, scenario)


@pytest.mark.parametrize("arguments, reason", [(["--image", "none.img"], "none.img: no such file"), ([], "/dev/ttyNONE9 cannot be opened")])
def test_what_cannot_be_done_is_said(capsys, arguments, reason):
    assert cli.main(["flash", "--board", "EMULATED", "--port", "/dev/ttyNONE9", "--update", *arguments]) == 2
    assert reason in capsys.readouterr().err
