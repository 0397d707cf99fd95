"""Child processes that never outlive this one: not after an exception, not after Ctrl-C, not after a kill -9 of the parent."""
import atexit
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])


class Children:
    """All processes started here; each leads a session of its own, so that Ctrl-C in the terminal reaches the parent alone."""

    _alive = set()

    @classmethod
    def start(cls, command, fd3=None, env=None, **popen):
        """Start `command`; `fd3` becomes the child's file descriptor 3."""
        hold_fd3()
        environment = dict(os.environ if env is None else env)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (_PACKAGE_PARENT, environment.get("PYTHONPATH"))))

        def in_child():
            if fd3 is not None:
                os.dup2(fd3, 3)
            if _libc:
                _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

        process = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=in_child,
                                   pass_fds=() if fd3 is None else (3,), **popen)
        cls._alive.add(process)
        return process

    @classmethod
    def stop(cls, process, grace_s=0.0):
        """End a process and its group: SIGTERM if given some grace, then SIGKILL; reaped when this returns."""
        if process.poll() is None and grace_s:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        cls._alive.discard(process)

    @classmethod
    def stop_all(cls):
        for process in list(cls._alive):
            cls.stop(process)


def hold_fd3():
    """Keep descriptor 3 of this process taken: `subprocess` would otherwise put its own error pipe there, and dup2 would cut it."""
    with contextlib.suppress(OSError):
        fd = os.open(os.devnull, os.O_RDONLY)
        if fd != 3:
            os.close(fd)


atexit.register(Children.stop_all)
