"""`prosumer image` and `prosumer emulate` as a person uses them."""
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from prosumer_tools import image

MPREMOTE = Path(sys.executable).parent / "mpremote"


def prosumer(*args, **popen):
    script = "import sys; from prosumer_tools import cli; cli.COMMANDS = ('image', 'emulate'); sys.exit(cli.main())"
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    return subprocess.Popen([sys.executable, "-c", script, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **popen)


def finished(*args):
    process = prosumer(*args)
    out, err = process.communicate(timeout=180)
    return process.returncode, out, err


def test_image_prints_sizes_within_the_budget(tmp_path):
    code, out, err = finished("image", "--march", "xtensawin", "--out", str(tmp_path / "e.img"))
    assert code == 0, err
    assert (tmp_path / "e.img").stat().st_size == image.IMAGE_BYTES
    sizes = dict(re.findall(r"^(\S+) +(\d+) B$", out, re.M))
    used, percent = re.search(r"^firmware in all +(\d+) B +(\d+) % of the budget of 122 KiB$", out, re.M).groups()
    assert int(used) == sum(int(size) for name, size in sizes.items() if name.startswith("prosumer"))
    assert int(percent) <= 100


@pytest.mark.parametrize(("args", "words"), [(("image", "NOWHERE"), "no board NOWHERE"), (("image", "--out", "/proc/none/x.img"), "cannot write"),
                                             (("emulate", "NOWHERE"), "no board NOWHERE"), (("emulate", "--speed", "-1"), "cannot be negative")])
def test_mistakes_get_one_clear_line(args, words):
    code, out, err = finished(*args)
    assert code == 2
    assert words in err
    assert err.count("\n") == 1, err


def test_emulate_runs_one_device_remembers_and_stops_on_ctrl_c(tmp_path):
    ids = []
    for _ in range(2):
        process = prosumer("emulate", "--dir", str(tmp_path), "--broker", "none")
        try:
            first = process.stdout.readline()
            port = re.match(r"EMULATED on (\S+) ", first).group(1)
            done = subprocess.run([MPREMOTE, "connect", port, "exec", "import machine; print(machine.unique_id().hex())"],
                                  capture_output=True, text=True, timeout=180, check=True)
            ids.append(done.stdout.strip())
        finally:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=180)
        assert process.returncode == 130
        assert "Traceback" not in err
    assert len(ids[0]) == 12
    assert ids[0] == ids[1]


def test_emulate_names_a_port_in_use(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = finished("emulate", "--dir", str(tmp_path), "--port", str(port))
    assert code == 2
    assert err == f"prosumer emulate: port {port} on 127.0.0.1 cannot be used: address already in use; choose another with --port\n"
