"""The MQTT broker of a street on this machine: amqtt embedded in a process of its own, or mosquitto when asked for.

`users` maps names to passwords; without it everyone may connect, from loopback only. Run as a program this file is the embedded broker; its
configuration comes as JSON on standard input.
"""
import asyncio
import contextlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from prosumer_tools.emulator.children import Children

KINDS = ("amqtt", "mosquitto")
_START_S = 60


class BrokerError(Exception):
    """The broker cannot serve; the text says why and what to do."""


class Broker:
    """A running broker on `host:port`; port 0 picks a free one."""

    def __init__(self, folder, kind="amqtt", port=0, users=None, host="127.0.0.1"):
        if kind not in KINDS:
            raise BrokerError(f"unknown broker {kind!r}: it is one of {', '.join(KINDS)}")
        if kind == "mosquitto" and not mosquitto():
            raise BrokerError("mosquitto is not installed: `apt install mosquitto`, or leave out --broker to use the embedded one")
        self.kind, self.host, self.port, self.users = kind, host, port, users
        self.folder = Path(folder)
        self.log_path = self.folder / "broker.log"
        self._process = None

    def start(self):
        """Start and wait until it accepts connections. To be called from the main thread, whose end would end the broker."""
        self.port = _free_port(self.host, self.port)
        self.folder.mkdir(parents=True, exist_ok=True)
        passwords = self._password_file() if self.users else None
        with open(self.log_path, "ab") as log:
            self._process = Children.start(self._command(passwords), stdin=subprocess.PIPE, stdout=log, stderr=log)
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"host": self.host, "port": self.port, "passwords": passwords}).encode())
            self._process.stdin.close()
        deadline = time.monotonic() + _START_S
        while not self._accepts():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise BrokerError(f"the broker ({self.kind}) did not start on {self.host}:{self.port}: {self._last_line()}")
            time.sleep(0.02)

    def stop(self):
        if self._process:
            Children.stop(self._process, grace_s=1.0)
            self._process = None

    def restart(self):
        """The outage is over: the same broker on the same port, its memory empty."""
        self.stop()
        self.start()

    @property
    def pid(self):
        return self._process.pid if self._process else None

    def _command(self, passwords):
        if self.kind == "amqtt":
            return [sys.executable, "-m", "prosumer_tools.emulator.broker"]
        config = self.folder / "mosquitto.conf"
        lines = [f"listener {self.port} {self.host}", "set_tcp_nodelay true", "max_queued_messages 10000", "persistence false"]
        if os.geteuid() == 0:
            lines.append("user root")  # it would give up root before it reads the files of this run
        lines += ["allow_anonymous false", f"password_file {passwords}"] if passwords else ["allow_anonymous true"]
        config.write_text("\n".join(lines) + "\n")
        return [mosquitto(), "-c", str(config)]

    def _password_file(self):
        path = self.folder / "broker.passwords"
        if self.kind == "mosquitto":
            path.write_text("".join(f"{name}:{password}\n" for name, password in self.users.items()))
            path.chmod(0o600)
            subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True, capture_output=True)
        else:
            from argon2 import PasswordHasher

            hasher = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1)  # a whole street connects at once
            path.write_text("".join(f"{name}:{hasher.hash(password)}\n" for name, password in self.users.items()))
            path.chmod(0o600)
        return str(path)

    def _accepts(self):
        try:
            socket.create_connection((self.host, self.port), 0.5).close()
        except OSError:
            return False
        return True

    def _last_line(self):
        lines = self.log_path.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"no message in {self.log_path}"


def mosquitto():
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def _free_port(host, port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BrokerError(f"port {port} on {host} cannot be used: {error.strerror.lower()}; choose another with --port") from error
        return probe.getsockname()[1]


async def _serve(config):
    from amqtt.broker import Broker as Amqtt

    if config["passwords"]:
        plugins = {"amqtt.plugins.authentication.FileAuthPlugin": {"password_file": config["passwords"]}}
    else:
        plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listener = {"type": "tcp", "bind": f"{config['host']}:{config['port']}"}
    await Amqtt({"listeners": {"default": listener}, "plugins": plugins}).start()
    await asyncio.Event().wait()


def _brief(record):
    """amqtt logs a traceback for every message that a silent client does not confirm; formatting them costs more than serving."""
    if record.exc_info and isinstance(record.exc_info[1], (TimeoutError, ConnectionError)):
        return False
    return True


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR, format="%(asctime)s %(message)s")
    logging.getLogger("amqtt.broker").addFilter(_brief)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(json.loads(sys.stdin.buffer.read())))
