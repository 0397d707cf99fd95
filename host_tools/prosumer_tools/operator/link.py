"""The operator at the broker: signed records out, retained; the meters' own words in, until they show that something took effect.

Nothing here is trusted: a record counts for its signature, and what the meters say is shown as theirs.
"""
import json
import os
import ssl
import threading
import time

import paho.mqtt.client as mqtt

from prosumer_tools.operator import OperatorError

PASSWORD = "PROSUMER_MQTT_PASSWORD"
OPERATOR = 255
_CONNECT_S = 10
_SILENCE_S = 1.5     # after the last message everything that the broker retains has been heard


class Link:
    """A connection; `states` {name: dict} and `online` {name: bool} are what the meters said last."""

    def __init__(self, host, port, user=None, tls=None):
        """`tls`: None or (ca, certificate, key) paths, the last two None without a client certificate."""
        self.host, self.port = host, port
        self.states, self.online = {}, {}
        self._heard = threading.Condition()
        self._last = time.monotonic()
        self._up, self._refused = threading.Event(), None
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"operator-{os.getpid()}")
        if user:
            self.client.username_pw_set(user, os.environ.get(PASSWORD))
        if tls:
            try:
                self.client.tls_set(*tls)
            except (OSError, ValueError, ssl.SSLError) as e:
                raise OperatorError(f"certificates: {e}") from None
        self.client.on_connect = self._connected
        self.client.on_message = self._message

    def __enter__(self):
        try:
            self.client.connect(self.host, self.port)
        except (OSError, ValueError) as e:
            raise OperatorError(f"no broker on {self.host}:{self.port}: {getattr(e, 'strerror', None) or e}") from None
        self.client.loop_start()
        if not self._up.wait(_CONNECT_S) or self._refused:
            self.__exit__()
            raise OperatorError(f"the broker on {self.host}:{self.port} " + (f"refuses: {self._refused}" if self._refused else "does not answer"))
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()

    def _connected(self, client, _, __, reason, ___):
        if reason.is_failure:
            self._refused = str(reason)
        else:
            client.subscribe([("prosumer/+/state", 1), ("prosumer/+/availability", 1)])
        self._up.set()

    def _message(self, client, _, message):
        parts = message.topic.split("/")
        if parts[0] != "prosumer":
            return  # amqtt hands out what others have subscribed to, if it is retained
        with self._heard:
            self._last = time.monotonic()
            if parts[2] == "availability":
                self.online[parts[1]] = message.payload == b"online"
            else:
                try:
                    state = json.loads(message.payload)
                except ValueError:
                    state = None
                if isinstance(state, dict):
                    self.states[parts[1]] = state
            self._heard.notify_all()

    def settle(self):
        """Wait until what the broker retains has been heard."""
        self._last = time.monotonic()
        while (left := self._last + _SILENCE_S - time.monotonic()) > 0:
            time.sleep(left)

    def publish(self, feeder_id, kind, payload, retain=True):
        """OperatorError when the broker does not confirm it."""
        sent = self.client.publish(f"p/{feeder_id.hex()[:8]}/{kind}/{OPERATOR}", payload, qos=1, retain=retain)
        try:
            sent.wait_for_publish(_CONNECT_S)
        except (ValueError, RuntimeError) as e:
            raise OperatorError(f"{kind} was not sent: {e}") from None
        if not sent.is_published():
            raise OperatorError(f"the broker did not confirm {kind} within {_CONNECT_S} s: may {OPERATOR} write there?")

    def wait(self, names, holds, seconds, progress):
        """Until `holds(state)` for every one of `names` that is online, or time is up: {name: "done" | "waits" | "offline"}.

        `progress(done, of)` is called whenever a meter has spoken.
        """
        end = time.monotonic() + seconds
        with self._heard:
            while True:
                out = {n: "done" if n in self.states and holds(self.states[n]) else "offline" if not self.online.get(n) else "waits" for n in names}
                done = sum(word == "done" for word in out.values())
                progress(done, len(names))
                left = end - time.monotonic()
                if "waits" not in out.values() and done or left <= 0:
                    return out
                self._heard.wait(min(left, 1))
