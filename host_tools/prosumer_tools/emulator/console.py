"""The serial port of an emulated device: a PTY on which real `mpremote` works, and the device's own terminal behind it.

Two pseudo terminals meet here. The outer one is what `mpremote connect PATH` opens; the inner one is the process's stdio. In between this
bridge does what a board's UART and C code would:

- Ctrl-C becomes SIGINT when the process catches it (a program runs), else it goes to the REPL as a byte; a second one within
  `_INTERRUPT_S` is the same one, as two that come before the program has seen the first are on a board (one pending exception);
- what is typed after it is held until the REPL's first prompt is out: a REPL that starts throws away what came before, a UART does not;
- the port's bare `\n` becomes `\r\n`, until `mpremote mount` begins its binary dialogue (a board leaves those bytes alone);
- after a soft reset from the raw REPL, the new process is led back into the raw REPL;
- output that nobody reads is dropped, so that an unattended device never blocks. Everything goes to the log file.
"""
import contextlib
import logging
import os
import re
import signal
import tty

_RAW_REPL = b"raw REPL; CTRL-B to exit\r\n"
_BANNER = b"MicroPython "
_PROMPT = b">>> "
_MOUNT = b"__mount()"
_TAIL_BYTES = 256  # holds the banner, two lines, up to the prompt
_PENDING_BYTES = 1 << 16
_UNREAD_S = 1.0
_INTERRUPT_S = 1.0  # a SIGINT that meets the end of the program it was meant for would end the process
_HOLD_S = 5.0       # then the program has taken the Ctrl-C for itself and reads what is typed
_LOG_BYTES = 8 << 20


class Console:
    """`path` is the port to connect to. `set_process(pid)` tells who gets Ctrl-C; the slave of the inner PTY is `stdio`."""

    def __init__(self, loop, log_path, echo=None):
        self._loop = loop
        self.log_path = log_path
        self._log = open(log_path, "ab", buffering=0)
        self._echo = echo
        self._outer, self._outer_slave = os.openpty()
        self._inner, self.stdio = os.openpty()
        self.path = os.ttyname(self._outer_slave)
        self.raw_repl = False
        self.on_prompt = lambda: None
        self.prompted = False  # the REPL's first prompt is out, and with it all that the program printed
        self._pid = None
        self._enter_raw = False
        self._up = self._interrupt = self._mounted = False
        self._interrupted_at = 0.0
        self._tail = self._typed = self._held = b""
        self._holding = False
        self._to_host = bytearray()
        self._to_device = bytearray()
        self._read_at = loop.time()
        for fd in (self._outer, self._inner, self._outer_slave, self.stdio):
            os.set_blocking(fd, fd == self.stdio)
            tty.setraw(fd)
        loop.add_reader(self._outer, self._from_host)
        loop.add_reader(self._inner, self._from_device)

    def close(self):
        for fd in (self._outer, self._inner):
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
        for fd in (self._outer, self._inner, self._outer_slave, self.stdio):
            os.close(fd)
        if self._log:
            self._log.close()

    def process_started(self, pid, back_to_raw=False):
        self._pid = pid
        self._enter_raw = back_to_raw
        self.raw_repl = self.prompted = False
        self._up = self._interrupt = self._mounted = False
        self._interrupted_at = 0.0
        self._tail = b""

    def up(self):
        """The chip has booted: a Ctrl-C that came while its ROM ran, so to speak, takes effect now."""
        self._up = True
        if self._interrupt:
            self._interrupt = False
            self._from_keyboard()

    def interrupt_again(self):
        """The last Ctrl-C hit the process where it must not; this one waits until it has booted."""
        self._interrupt = True
        self._hold()

    def interrupted(self):
        """Whether a Ctrl-C of this port is what the process may have died of."""
        return self._interrupted_at > 0

    def process_ended(self):
        while self._from_device():
            pass
        self._pid = None
        self._to_device.clear()
        self._loop.remove_writer(self._inner)
        tty.setraw(self.stdio)  # a killed process leaves its settings behind

    def say(self, text):
        """Print a line of the chip itself."""
        self._show(text)

    # host → device

    def _from_host(self):
        with contextlib.suppress(BlockingIOError, OSError):
            data = os.read(self._outer, 4096)
            self._read_at = self._loop.time()
            self._mounted = self._mounted or _MOUNT in self._typed + data
            self._typed = data[-len(_MOUNT):]
            for part in re.split(b"(\x03)", data):
                if part == b"\x03" and self._pid:
                    self._from_keyboard()
                elif self._holding:
                    self._held = (self._held + part)[:_PENDING_BYTES]
                else:
                    self._type(part)

    def _from_keyboard(self):
        """Ctrl-C."""
        if not self._up:
            self._interrupt = True
            self._hold()
        elif _catches_sigint(self._pid):
            now = self._loop.time()
            if self._interrupted_at and now - self._interrupted_at < _INTERRUPT_S:
                return
            self._interrupted_at = now
            self._hold()
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGINT)
        elif self._holding:
            self._held += b"\x03"
        else:
            self._type(b"\x03")

    def _hold(self):
        if not self.prompted:
            self._holding = True
            self._loop.call_later(_HOLD_S, self._release)

    def _release(self):
        held, self._held, self._holding = self._held, b"", False
        self._type(held)

    def _type(self, data):
        if self._pid and len(self._to_device) < _PENDING_BYTES:
            self._to_device += data
            self._flush_to_device()

    def _flush_to_device(self):
        if not _write_some(self._inner, self._to_device):
            self._loop.add_writer(self._inner, self._flush_to_device)
        else:
            self._loop.remove_writer(self._inner)

    # device → host

    def _from_device(self):
        """Take what the device printed; False when there is nothing more."""
        if len(self._to_host) >= _PENDING_BYTES:
            if self._loop.time() - self._read_at < _UNREAD_S:
                self._loop.remove_reader(self._inner)  # a slow reader holds the device up, as a UART would
                self._loop.call_later(0.05, self._resume)
                return False
            self._to_host.clear()
        try:
            data = os.read(self._inner, 4096)
        except (BlockingIOError, OSError):
            return False
        self._show(data)
        self._follow(data)
        return bool(data)

    def _resume(self):
        with contextlib.suppress(ValueError, OSError):
            self._loop.add_reader(self._inner, self._from_device)

    def _show(self, data):
        self._keep(data)
        text = data if self._mounted else re.sub(b"(?<!\r)\n", b"\r\n", data)
        if self._echo:
            self._echo(text)
        self._to_host += text
        self._flush_to_host()

    def _keep(self, data):
        try:
            if self._log and self._log.tell() < _LOG_BYTES:
                self._log.write(data)
        except OSError as error:
            logging.getLogger("prosumer.emulator").error("cannot write %s: %s; the log ends here", self.log_path, error.strerror.lower())
            self._log.close()
            self._log = None

    def _flush_to_host(self):
        before = len(self._to_host)
        done = _write_some(self._outer, self._to_host)
        if len(self._to_host) < before:
            self._read_at = self._loop.time()
        if done:
            self._loop.remove_writer(self._outer)
        else:
            self._loop.add_writer(self._outer, self._flush_to_host)

    def _follow(self, data):
        """Know whether the REPL is raw, and go back into the raw one when the prompt of a soft-reset device appears."""
        self._tail += data
        raw, banner = self._tail.rfind(_RAW_REPL), self._tail.rfind(_BANNER)
        if max(raw, banner) >= 0:
            self.raw_repl = raw > banner
        if banner >= 0 and not self.prompted and self._tail.endswith(_PROMPT):
            self.prompted = True
            if self._enter_raw:
                self._type(b"\x01")
            self._release()
            self.on_prompt()
        self._tail = self._tail[-_TAIL_BYTES:]


def _write_some(fd, pending):
    """Write what fits; True when nothing is left."""
    with contextlib.suppress(BlockingIOError):
        del pending[: os.write(fd, pending)]
    return not pending


def _catches_sigint(pid):
    """Does the process handle SIGINT (a program runs), or does its REPL read Ctrl-C as a byte?"""
    try:
        with open(f"/proc/{pid}/status") as status:
            caught = next(line for line in status if line.startswith("SigCgt"))
    except OSError:
        return False
    return bool(int(caught.split()[1], 16) & 1 << (signal.SIGINT - 1))
