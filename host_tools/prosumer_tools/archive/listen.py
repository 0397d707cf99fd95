"""Follows feeders over MQTT, and answers there.

    b/FEEDER/proposal/MEMBER, p/FEEDER/vote/MEMBER    what the street agrees on
    a/FEEDER/ask/MEMBER → a/FEEDER/answer/MEMBER      {"id": …, "ask": "receipt", "slot": 7} → {"id": …, "receipt": base64 | …}
                                                      the broker's ACL says who may write as whom (255: the operator)
    On a feeder that seals its records both are sealed, as kinds archive-ask and archive-answer (the answer as sender 255).

A proposal or a finalize vote is on the disk before the broker hears that it arrived, and the session is kept while the archive is off, so the
broker hands over afterwards what it queued. A block that changes who votes is final by its own votes alone: none may be lost in a restart.
"""
import json
import sys
import threading

import paho.mqtt.client as mqtt

from prosumer_tools.feederkeys import BadSeal, FeederKeys

from . import format
from .answers import OPERATOR, answer, b64
from .chain import Refused
from .format import Malformed

MOST_ASKED = 4096  # bytes of a question
MOST_SAID = 65000  # bytes of an answer: a broker drops what is longer than its limit without a word (OPERATOR.md)


class Ear:
    """One feeder's proposals and votes → blocks with certificates into the archive. `told(text)`: what a person should know."""

    def __init__(self, archive, feeder, told=lambda text: None):
        self.archive, self.feeder, self.told = archive, feeder, told
        self.waiting = []  # slots, as told

    def hear(self, kind, member, payload):
        """A message of the street; the database's own error when it could not be kept. What cannot be read is told, or it would come again."""
        try:
            with self.archive.db.lock:  # a peer may fill the same chain
                try:
                    self._hear(kind, member, payload)
                except self.archive.db.errors:
                    self.archive.chains.pop(self.feeder, None)  # somebody else may have added to this archive: look again
                    self._hear(kind, member, payload)
        except (Refused, Malformed) as error:
            self.told(str(error))
        except format.RUBBISH as error:
            self.archive.chains.pop(self.feeder, None)
            self.told(f"a {kind} of member {member} cannot be read: {type(error).__name__}: {error}")

    def _hear(self, kind, member, payload):
        if kind == "proposal":
            self._proposal(payload, member)
        elif kind == "vote":
            self._vote(payload, member)

    def _proposal(self, raw, member):
        if self.archive.wait_for(self.feeder, raw, member):
            self._certify(*format.voted(self.archive.chain(self.feeder).books, raw))

    def _vote(self, raw, member):
        books = self.archive.chain(self.feeder).books
        vote = format.finalize_vote(books, raw, member)
        if vote:
            self.archive.keep_vote(self.feeder, books.domain(), member, *vote)
            self._certify(*vote[:2])

    def _certify(self, iteration, digest):
        books = self.archive.chain(self.feeder).books
        votes = self.archive.votes(self.feeder, books.domain(), iteration, digest)
        signatures = {m: votes[m] for m in books.voters() if m in votes}
        if len(signatures) < books.quorum():
            return
        proposal = self.archive.proposal_of(self.feeder, digest)
        if proposal:
            joined = self.archive.take(self.feeder, proposal, format.certificate_of(iteration, digest, signatures))
            slot, waiting = self.archive.gap(self.feeder)
            if joined:
                self.told(f"block {slot}")
            if waiting and waiting != self.waiting:
                self.told(f"blocks from slot {waiting[0]} on wait for one that is missing after slot {slot} (waiting: {len(waiting)})")
            self.waiting = waiting


class Listener:
    """An MQTT client for all feeders of an archive; paho's own thread calls it, and tries until the broker is there.

    `keys()`: {feeder: FeederKeys} of those that seal their records, asked again when the operator has rotated them;
    `tls`: (CA file, certificate file or None, its key or None)."""

    def __init__(self, archive, host, port=1883, user=None, password=None, client_id="prosumer-archive", told=lambda text: None,
                 keys=dict, tls=None):
        self.archive, self.told = archive, told
        self.ears = {f: Ear(archive, f, told) for f, _ in archive.feeders()}
        self._keys = keys
        self._load_keys()
        self.failure, self.ended = "", threading.Event()
        self.refused = {}  # why a message could not be opened → how many
        self.client = c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
        if user:
            c.username_pw_set(user, password)
        if tls:
            c.tls_set(*tls)
        c.on_connect = self._guarded(self._connected)
        c.on_message = self._guarded(lambda client, userdata, message: self._take(client, message))
        c.on_disconnect = self._guarded(lambda c, u, flags, reason, p: told("the broker is gone; trying again") if reason.is_failure else None)
        c.on_connect_fail = self._guarded(lambda client, userdata: self._unreachable(f"{host}:{port}"))
        self._why = ""  # the broker cannot be reached, as told
        c.reconnect_delay_set(1, 60)
        c.connect_async(host, port)

    def _load_keys(self):
        known = self._keys()
        self.keys = {f: known.get(f) or FeederKeys(f, {}) for f in self.ears}

    def _open(self, feeder, kind, member, message):
        """The plain record. A message of an epoch that is not known here: the operator's file may hold a newer key by now."""
        try:
            return self.keys[feeder].open(kind, member, message)
        except BadSeal as error:
            if str(error) != "unknown-epoch":
                raise
            self._load_keys()
            return self.keys[feeder].open(kind, member, message)

    def _unreachable(self, where):
        """paho calls it where the connection failed: the error at hand is the reason."""
        error = sys.exc_info()[1]
        why = f"the broker {where} cannot be reached: {getattr(error, 'strerror', None) or error}; trying again"
        if why != self._why:
            self._why = why
            self.told(why)

    def _connected(self, client, userdata, flags, reason, properties):
        self._why = ""
        if reason.is_failure:
            self.told(f"the broker refuses: {reason}")
            return
        topics = [(what.format(f.hex()[:8]), 1) for f in self.ears for what in ("b/{}/proposal/+", "p/{}/vote/+", "a/{}/ask/+")]
        client.subscribe(topics)
        self.told(f"listening to {len(self.ears)} feeder" + "s" * (len(self.ears) != 1))

    def _guarded(self, callback):
        """When the database fails, or anything else, the listener ends and says so; the broker has not heard that the message arrived: it comes again."""
        def guarded(*args):
            try:
                callback(*args)
            except Exception as error:
                self.failure = (str(error).strip().splitlines() or [type(error).__name__])[0]
                self.ended.set()
                raise SystemExit from None
        return guarded

    def _take(self, client, message):
        try:
            parts = message.topic.split("/")
            kind, member = parts[2], int(parts[3])
            feeder, ear = next((f, ear) for f, ear in self.ears.items() if f.hex()[:8] == parts[1])
        except (ValueError, IndexError, StopIteration):
            return
        if parts[0] != "a" and kind not in ("proposal", "vote") or not 0 <= member < 256:
            return
        try:
            payload = self._open(feeder, "archive-ask" if parts[0] == "a" else kind, member, message.payload)
        except BadSeal as error:
            self.refused[str(error)] = self.refused.get(str(error), 0) + 1
            if self.refused[str(error)] == 1:
                self.told(f"a message of member {member} cannot be opened: {error}; are the feeder keys the newest?")
            return
        if parts[0] != "a" and member < 64:
            ear.hear(kind, member, payload)
        elif kind == "ask":
            said = json.dumps(self.asked(feeder, member, payload)).encode()
            client.publish(f"a/{feeder.hex()[:8]}/answer/{member}", self.keys[feeder].seal("archive-answer", OPERATOR, said), qos=1)

    def asked(self, feeder, member, payload):
        """The answer to any bytes, with an error in it instead of raising one: a question must not come again, or end what follows the street."""
        said = {"id": None}
        try:
            if len(payload) > MOST_ASKED:
                raise Refused(f"a question has at most {MOST_ASKED} bytes")
            request = json.loads(payload)
            what, number = request.pop("ask"), request.pop("id", None)
            if isinstance(number, (int, str)) and len(str(number)) <= 64:
                said["id"] = number
            given = answer(self.archive, feeder, what, request, member)
            said[what] = b64(given) if isinstance(given, bytes) else given
            size = len(json.dumps(said))
            if size > MOST_SAID:
                del said[what]
                raise Refused(f"the answer would have {size:,} bytes, and a broker takes {MOST_SAID:,}: ask for less at a time")
        except Refused as error:
            said["error"] = str(error)
        except self.archive.db.errors:
            said["error"] = "the database fails"
        except Exception:
            said["error"] = 'ask as {"id": …, "ask": "receipt", "slot": 7}'
        return said

    def start(self):
        self.client.loop_start()
        return self

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()
