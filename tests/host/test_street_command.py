"""`prosumer neighbourhood` when something is wrong: one clear line, an exit code, no process left behind."""
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from street_kit import street_of

PROSUMER = Path(sys.executable).parent / "prosumer"


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "profiles.csv"
    street_of(3, 4)[1].write_csv(path)
    return path


def command(csv, out, *options):
    return [PROSUMER, "neighbourhood", "--profiles", csv, "--slot-minutes", "5", "--slots", "3", "--out", out, *options]


def finished(*args, **popen):
    done = subprocess.run(args, capture_output=True, text=True, timeout=180, check=False, **popen)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def left_behind(folder):
    """Processes that work in a folder of the run."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join(process.cmdline()) + process.cwd():
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("row, column, old, new, words", [
    (2, 1, None, "-5", "line 3"), (1, 0, None, "yesterday", "line 2"), (0, 1, None, "alder_heat_w", "alder_heat_w")])
def test_bad_profiles_are_refused_with_line_and_column(csv, tmp_path, row, column, old, new, words):
    lines = [line.split(",") for line in csv.read_text().splitlines()]
    lines[row][column] = new
    csv.write_text("\n".join(",".join(line) for line in lines) + "\n")
    code, err = finished(*command(csv, tmp_path / "run"))
    assert code == 2 and words in err and err.count("\n") == 1, err


def test_a_port_in_use_is_named(csv, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, err = finished(*command(csv, tmp_path / "run", "--port", str(port)))
    assert code == 2 and f"port {port}" in err and "in use" in err and err.count("\n") == 1, err
    assert not left_behind(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(csv, tmp_path):
    (tmp_path / "file").write_text("")
    code, err = finished(*command(csv, tmp_path / "file" / "run"))
    assert code == 2 and str(tmp_path / "file") in err and err.count("\n") == 1, err


def test_a_full_disk_ends_the_run_with_one_line(csv, tmp_path):
    """No file may grow beyond 200 kB, less than the flash of one meter: writing fails as on a full disk."""
    import resource
    code, err = finished(*command(csv, tmp_path / "run"), preexec_fn=lambda: (
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))))
    assert code == 2 and err.count("\n") == 1 and ("large" in err.lower() or "space" in err.lower()), err
    assert not left_behind(tmp_path)


@pytest.mark.parametrize("line", ["boot", "the street trades"])
def test_ctrl_c_stops_at_once_and_leaves_no_process(csv, tmp_path, line):
    process = subprocess.Popen(command(csv, tmp_path / "run", "--speed", "20"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while line not in (said := process.stdout.readline()):
        assert said, process.communicate()[1]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 130 and "Traceback" not in err, err
    assert "stopped" in err
    assert not left_behind(tmp_path)
