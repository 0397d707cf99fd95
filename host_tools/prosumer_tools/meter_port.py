"""A meter on a serial port: commands by mpremote, and what the meter itself prints."""
import subprocess
import sys
import time

import serial

COMMAND_S = 60
ANSWER_S = 3
_FULL = "ENOSPC", "Errno 28", "No space"


class PortError(Exception):
    """The meter did not do it; the text says what happened on the port."""


def mpremote(port, *command, soft_reset=True):
    """Run mpremote on `port`; what it printed. The first command of a connection soft-resets the meter, so that all memory is free."""
    resume = () if soft_reset else ("resume",)
    try:
        done = subprocess.run([sys.executable, "-m", "mpremote", "connect", port, *resume, *command], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=COMMAND_S, check=False)
    except subprocess.TimeoutExpired:
        raise PortError(f"mpremote did not come back from {port} within {COMMAND_S} s") from None
    output = done.stdout.decode(errors="replace").replace("\r\n", "\n")
    if done.returncode:
        if any(sign in output for sign in _FULL):
            raise PortError(f"the file system of the meter on {port} is full")
        lines = output.strip().splitlines()
        raise PortError(f"mpremote on {port}: {lines[-1] if lines else 'failed'}")
    return output


def check_answers(port):
    """Stop what runs there (Ctrl-C); PortError if nothing answers. mpremote would wait for ever on a port that is silent."""
    with _open(port) as line:
        line.write(b"\r\x03\r\n")
        if not line.read(1):
            raise PortError(f"no answer on {port}: is it the meter's port, has the board power, does it run MicroPython?")


def send(port, text, done, seconds):
    """Type a line, then read as `watch` does. What is typed is not shown."""
    with _open(port) as line:
        line.write(text.encode() + b"\r\n")
    return watch(port, seconds, done)


def watch(port, seconds, done):
    """Read lines that the meter prints until `done(line)` is true; (that line or None, all lines)."""
    lines, rest = [], b""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with _open(port) as line:
                while time.monotonic() < end:
                    rest += line.read(max(1, line.in_waiting))
                    *whole, rest = rest.split(b"\n")
                    for text in whole:
                        lines.append(text.decode(errors="replace").strip())
                        if done(lines[-1]):
                            return lines[-1], lines
        except (serial.SerialException, PortError):
            time.sleep(0.2)  # a USB port is gone while the chip restarts
    return None, lines


def _open(port):
    try:
        return serial.serial_for_url(port, 115200, timeout=ANSWER_S, write_timeout=ANSWER_S)
    except (serial.SerialException, ValueError) as error:
        raise PortError(f"{port} cannot be opened: {getattr(error, 'strerror', None) or error}") from None
