"""Asks an archive over MQTT, as a member or as the operator (listen.py has the topics). What it answers is worth what proven.py finds in it.

    with Asker(keys, sender, host, port) as ask:
        receipt = ask("receipt", member=3, slot=7)
"""
import base64
import json
import secrets
import threading

import paho.mqtt.client as mqtt

from prosumer_tools.feederkeys import BadSeal

from .answers import OPERATOR
from .chain import Refused

_BYTES = ("genesis", "headers", "receipt", "account", "block")  # questions that are answered with bytes


class NoAnswer(RuntimeError):
    """Nothing came from an archive; one line that says how far the question got."""


class Asker:
    """A connection; calling it asks and waits. `keys`: FeederKeys, without an epoch on a feeder that seals nothing; `sender`: a member's
    number or OPERATOR; `tls`: (CA file, certificate file or None, its key or None). NoAnswer."""

    def __init__(self, keys, sender, host, port=1883, user=None, password=None, tls=None, timeout_s=30):
        self.keys, self.sender, self.timeout_s = keys, sender, timeout_s
        self.host, self.port, self.user = host, port, user
        self.feeder = keys.feeder_id.hex()[:8]
        self._ready, self._came = threading.Event(), threading.Event()
        self._fault, self._unread = "", ""
        self._number = self._said = None
        self.client = c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"prosumer-ask-{secrets.token_hex(4)}")
        if user:
            c.username_pw_set(user, password)
        if tls:
            c.tls_set(*tls)
        c.on_connect, c.on_subscribe, c.on_message = self._connected, self._subscribed, self._message

    def __enter__(self):
        where = f"the broker {self.host}:{self.port}"
        try:
            self.client.connect(self.host, self.port)
        except (OSError, ValueError) as error:
            raise NoAnswer(f"{where} cannot be reached: {getattr(error, 'strerror', None) or error}") from None
        self.client.loop_start()
        if not self._ready.wait(self.timeout_s) or self._fault:
            self.__exit__()
            raise NoAnswer(f"{where} " + (self._fault or f"says nothing for {self.timeout_s:g} s: is it one?"))
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()

    def __call__(self, what, **given):
        """The archive's answer, a dict or bytes; Refused with its words when it gives none."""
        self._number, self._said, self._unread = secrets.token_hex(8), None, ""
        self._came.clear()
        question = json.dumps({"id": self._number, "ask": what, **given}).encode()
        self.client.publish(f"a/{self.feeder}/ask/{self.sender}", self.keys.seal("archive-ask", self.sender, question), qos=1)
        if not self._came.wait(self.timeout_s):
            raise NoAnswer(self._why())
        if "error" in self._said:
            raise Refused(str(self._said["error"]))
        try:
            answer = self._said[what]
            answer = base64.b64decode(answer, validate=True) if what in _BYTES else answer
        except (KeyError, TypeError, ValueError):
            answer = None
        if not isinstance(answer, bytes if what in _BYTES else dict):
            raise NoAnswer(f"what came is no answer to {what!r}")
        return answer

    def _why(self):
        if self._unread:
            return f"an answer came that cannot be opened ({self._unread}): are the feeder keys the newest?"
        who = "the operator" if self.sender == OPERATOR else f"member {self.sender}"
        keys = "do its keys and these hold the same epochs" if self.keys.epochs else "does the feeder seal its records (then --keys is needed)"
        return (f"no archive answered within {self.timeout_s:g} s: does `prosumer archive follow` run on this broker with feeder {self.feeder},"
                f" may {self.user or 'anybody'} ask as {who} there, {keys}?")

    def _connected(self, client, userdata, flags, reason, properties):
        if reason.is_failure:
            self._fault = f"refuses {self.user or 'who gives no --user'}: {reason}"
            self._ready.set()
        else:
            client.subscribe(f"a/{self.feeder}/answer/{self.sender}", 1)

    def _subscribed(self, client, userdata, mid, reasons, properties):
        if any(r.is_failure for r in reasons):
            self._fault = f"does not let {self.user or 'anybody'} read a/{self.feeder}/answer/{self.sender}: is --as right?"
        self._ready.set()

    def _message(self, client, userdata, message):
        """Others may ask under the same number; only the answer to this question counts."""
        try:
            said = json.loads(self.keys.open("archive-answer", OPERATOR, message.payload))
        except BadSeal as error:
            self._unread = str(error)
            return
        except ValueError:
            return
        if isinstance(said, dict) and said.get("id") == self._number and not self._came.is_set():
            self._said = said
            self._came.set()
