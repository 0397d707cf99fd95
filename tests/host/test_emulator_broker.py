"""The broker in its own process: who may connect, what happens when it cannot serve, and that no process is left behind."""
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import psutil
import pytest

from prosumer_tools.emulator import broker
from prosumer_tools.emulator.broker import KINDS, Broker, BrokerError

HERE = Path(__file__).parent
INSTALLED = [kind for kind in KINDS if kind == "amqtt" or broker.mosquitto()]


def answer(port, user=None, password=None):
    """The broker's return code to a connection: 0 when it lets the client in."""
    codes = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="probe")
    if user:
        client.username_pw_set(user, password)
    client.on_connect = lambda client, data, flags, reason, properties: codes.append(reason.is_failure)
    client.on_disconnect = lambda client, data, flags, reason, properties: codes.append(True)
    client.connect("127.0.0.1", port)
    end = time.monotonic() + 60
    while not codes and time.monotonic() < end:
        client.loop(0.1)
    client.disconnect()
    return codes[0]


@pytest.mark.parametrize("kind", INSTALLED)
def test_only_known_users_get_in_when_there_are_users(tmp_path, kind):
    serving = Broker(tmp_path, kind, users={"meter": "right"})
    serving.start()
    try:
        assert answer(serving.port, "meter", "right") is False
        assert answer(serving.port, "meter", "wrong") is True
        assert answer(serving.port) is True
        assert "right" not in "".join(p.read_text(errors="replace") for p in tmp_path.iterdir())
        assert not [p for p in tmp_path.glob("*passw*") if p.stat().st_mode & 0o077]
    finally:
        pid = serving.pid
        serving.stop()
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("kind", INSTALLED)
def test_without_users_everyone_on_this_machine_gets_in(tmp_path, kind):
    serving = Broker(tmp_path, kind)
    serving.start()
    try:
        assert answer(serving.port) is False
        listening = [c.laddr for c in psutil.Process(serving.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert [address.ip for address in listening] == ["127.0.0.1"]
    finally:
        serving.stop()


def test_a_port_in_use_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=f"port {port} on 127.0.0.1 cannot be used: address already in use"):
            Broker(tmp_path, port=port).start()


def test_a_missing_mosquitto_and_an_unknown_broker_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(broker.shutil, "which", lambda *_, **__: None)
    with pytest.raises(BrokerError, match="mosquitto is not installed"):
        Broker(tmp_path, "mosquitto")
    with pytest.raises(BrokerError, match="unknown broker 'rabbit'"):
        Broker(tmp_path, "rabbit")


STREET = """
import asyncio, json, sys
sys.path.insert(0, {here!r})
from emulator_kit import Street

async def main():
    async with Street({folder!r}, speed=100) as street:
        street.add_homes(2)
        street.boot()
        await street.live(1)
        print(json.dumps([street.broker.pid] + [d.pid for d in street.devices.values()]), flush=True)
        {then}
asyncio.run(main())
"""


@pytest.mark.parametrize(("then", "number"), [("await street.live(10000)", signal.SIGINT), ("await street.live(10000)", signal.SIGTERM),
                                              ("await street.live(10000)", signal.SIGKILL), ("1 / 0", None)])
def test_no_process_is_left_behind(tmp_path, then, number):
    script = STREET.format(here=str(HERE), folder=str(tmp_path / "run"), then=then)
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path)))
    street = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    pids = json.loads(street.stdout.readline())
    assert len(pids) == 3
    if number:
        street.send_signal(number)
    street.wait(60)
    street.stdout.close()
    end = time.monotonic() + 60
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < end:
        time.sleep(0.02)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
