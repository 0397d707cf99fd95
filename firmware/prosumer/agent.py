"""The agent: the only place that wires the stages and owns the tasks.

    sample ─▶ House ─▶ ReadingChain ─▶ Trader ─▶ Node (clearing, settlement, header) ─▶ flash and MQTT

Four kinds of events and nothing else: a sample window is due, a slot ends, a commit or gate is due, messages came.
"""
import gc
import json
import os

from micropython import const

from prosumer.errors import Reject
from prosumer.identity.chain import ReadingChain
from prosumer.identity.members import Members
from prosumer.identity.wire import Wire
from prosumer.ledger.headers import HeaderRing
from prosumer.ledger.node import Node
from prosumer.ledger.pool import credit_ucr
from prosumer.link import topics
from prosumer.link.session import Session
from prosumer.market.envelope import allowance, guard
from prosumer.market.flexibility import dispatch, target_mw
from prosumer.market.trader import Trader
from prosumer.metering.house import House
from prosumer.records import MAX_LATE_READINGS, Header

_FOLDER = const("/data/")
_MOST_MESSAGES = const(1024)  # at a time, before a flood is cut off so that metering goes on


class Agent:
    def __init__(self, hal, config, channels, calibration, signer, genesis):
        """`config`: the provisioned dict with name, broker and devices; `genesis`: a verified Genesis naming this key."""
        self.hal, self.config, self.genesis, self.signer = hal, config, genesis, signer
        self.name = config["name"]
        keys = [m[0] for m in genesis.members]
        if signer.public not in keys:
            raise Reject("not-a-member")
        self.me = keys.index(signer.public)
        try:
            os.mkdir(_FOLDER[:-1])
        except OSError:
            pass  # it is there
        self.counts = {}
        # one buffer for two things that never meet: samples, and a block while it is received and executed
        buffer = bytearray(max(House.buffer_bytes(hal, channels), 1536 + 448 * genesis.n))
        self.house = House(hal, channels, calibration, _FOLDER, buffer)
        for event in self.house.registers.events:
            self.count(event)
        self.chain = ReadingChain(_FOLDER + "readings", genesis, self.me, signer, self.house.totals())
        self.trader = Trader(genesis, self.me, config.get("devices", {}), _FOLDER, signer)
        ring = HeaderRing(_FOLDER + "headers", Header.size())
        self.node = Node(genesis, Members(genesis, _FOLDER), self.me, signer, _FOLDER, ring, hal.entropy, self.publish, self.count)
        self.node.on_final = self.on_final
        feeder = genesis.feeder_id
        self.wire = Wire(_FOLDER + "keys", feeder, self.me, signer, config.get("open"))
        try:
            with open("/keys.bin", "rb") as f:  # from the installer; newer ones come from the operator's topic
                self.wire.take(f.read(), self.node.members.operator)
        except OSError:
            pass
        except Reject as e:
            if e.code != "old-epoch":
                raise
        self.orders_from = topics.human(self.name, "set").encode()
        self.session = Session(config["broker"], b"meter-" + signer.public[:6].hex().encode(),
                               [topics.wildcard(feeder).encode(), self.orders_from], buffer,
                               self.count, (topics.human(self.name, "availability").encode(), b"offline"))
        now = hal.now_ms()
        self.slot = genesis.slot_at(now)
        self.sample_ms = self._next(now, hal.window_ms)
        self.commit_ms = self._commit_due(self.slot, now)
        self.planned = None
        self.whole_slot = False  # this slot was metered from its beginning
        self.lowest_free = gc.mem_free()

    heap_code = 0  # bytes in use when all modules were loaded; main.py fills it in

    def count(self, event):
        self.counts[event] = self.counts.get(event, 0) + 1

    @staticmethod
    def _next(now_ms, period_ms):
        return (now_ms // period_ms + 1) * period_ms

    def _commit_due(self, slot, now_ms):
        """Shortly before the gate: late enough to know most of the slot, early enough for the network."""
        due = self.genesis.gate_ms(slot) - max(5000, self.genesis.slot_s * 1000 // 60)
        return due if due >= now_ms else self._commit_due(slot + 1, now_ms)

    # -- the loop

    def run(self):
        while True:
            self.step(self.hal.now_ms())
            self.hal.wait(self.next_due(), self.session)

    def next_due(self):
        now = self.hal.now_ms()
        if self.session.queue:
            return now
        due = min(self.sample_ms, self.commit_ms, self.genesis.start_ms(self.slot + 1), self.node.next_due(now))
        if not self.session.connected():
            due = min(due, max(self.session.retry_ms, now + 1))
        return due

    def step(self, now):
        self.hal.feed()
        if self.session.step(now, self.hal.entropy(1)[0] * 4):
            self.publish_human("availability", b"online")
            self.announce()
            self.node.catchup.ask(now)
        self.listen(now)
        sampled = now >= self.sample_ms
        if sampled:
            self.sample_ms = self._next(now, self.hal.window_ms)
            sampled = self.house.sample(now)
        if self.genesis.slot_at(now) != self.slot:
            self.end_slot(now)
        if sampled:
            self.control(now)
        if now >= self.commit_ms:
            self.commit_ms = self._commit_due(self.slot, now + 1)
            self.commit(now)
        self.node.step(now)
        self.node.catchup.step(now)
        proposer = self.node.inbox.lacks(now)
        if proposer is not None:
            self.session.fetch(topics.machine(self.genesis.feeder_id, topics.PROPOSAL, proposer).encode())

    # -- messages

    def listen(self, now):
        """Handle what has come until nothing is left, so that the shared buffer is free; a flood is cut off."""
        jitter_ms = self.hal.entropy(1)[0] * 4
        for _ in range(_MOST_MESSAGES):
            message = self.session.next(now, jitter_ms)
            if not message:
                return
            self.receive(message[0], message[1], now)
        self.session.drop()

    def publish(self, kind, payload, member=None):
        member = self.me if member is None else member
        if kind != topics.GENESIS:
            payload = self.wire.seal(kind, member, payload)
        if payload is None:
            self.count("no-key")
        else:
            whole = kind == topics.PROPOSAL
            if self.session.publish(topics.machine(self.genesis.feeder_id, kind, member).encode(), payload, whole) and not whole:
                self.session.published += 1

    def publish_human(self, what, payload):
        self.session.publish(topics.human(self.name, what).encode(), payload, True, 0)

    def receive(self, topic, message, now):
        """Whatever came in: it is taken, or counted by the reason for which it was not."""
        try:
            if topic == self.orders_from:
                return self.request(json.loads(message))
            kind, member = topics.parse(topic, self.genesis.feeder_id)
            if kind == topics.KEYS:
                if self.wire.take(message, self.node.members.operator):
                    self.announce()
                return
            if member == self.me:
                return
            if kind != topics.GENESIS:
                message = self.wire.open(kind, member, message)
            if kind == topics.WEATHER:
                self.trader.weather.take(json.loads(message))
            else:
                try:
                    self.node.receive(kind, member, message, now)
                except MemoryError:
                    self.node.relieve()
                    if kind in (topics.SKETCH, topics.PROPOSAL):
                        self.node.receive(kind, member, message, now)
        except Reject as e:
            self.count(e.code)
        except MemoryError:
            self.node.relieve()
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError):
            self.count("malformed")

    def request(self, message):
        """What the owner wants done with green coins (market/green.py), or a neighbour's receipt checked; the broker lets only the owner ask."""
        if "receipt" in message:
            from prosumer.ledger.receipt import judge
            return self.publish_human("receipt", json.dumps(judge(message["receipt"], self.node)).encode())
        from prosumer.market.green import request
        account = self.node.state.accounts[self.me]
        self.offer(topics.TRANSFER, request(message, self.genesis, self.me, account, self.signer))

    def announce(self):
        """After a reconnect: everything of ours that others may have missed."""
        account = self.node.state.accounts[self.me]
        for reading in self.chain.unsettled(account.next_seq)[:MAX_LATE_READINGS]:
            self.offer(topics.READING, reading)
        for slot in sorted(self.trader.sealed):
            if slot > self.slot:
                self.reveal(slot)
        self.node.announce()

    def offer(self, kind, record):
        """A record of our own: into our pool and out to the neighbours."""
        try:
            self.node.add(record, self.hal.now_ms())
        except Reject as e:
            self.count("own-" + e.code)
        self.publish(kind, record.pack())

    # -- the walk

    def end_slot(self, now):
        """reading → signed reading: close the slot that just ended, tell the neighbours, learn from it."""
        ended, self.slot = self.genesis.slot_at(now) - 1, self.genesis.slot_at(now)
        interval = self.house.close_slot(self.genesis.slot_s * 1000)
        for event in interval.get("events", ()):  # of a metering chip: sags, lost phases
            self.count(event)
        if ended >= 0:
            reading = self.chain.extend(ended, self.house.totals(), self.house.uncertainty_mwh(interval), interval["flags"],
                                        self.house.accuracy(), self.house.calibration.hash())
            if reading:
                self.offer(topics.READING, reading)
            if self.whole_slot:
                self.trader.observe(ended, *self.house.consumption())
        else:
            self.chain.rebase(self.house.totals())
        self.node.pool.forget(self.slot)
        self.house.open_slot()
        self.whole_slot = True
        gc.collect()
        self.tell(ended)
        if self.node.amended:
            self.hal.reset()  # all energy is on flash now; the new genesis is taken up at boot

    def commit(self, now):
        """reading → order: forecast, decide, seal, send the commit for the slot after next."""
        start, length = self.genesis.start_ms(self.slot), self.genesis.slot_s * 1000
        period_ms = self.hal.window_ms
        done = max(1, now - start - (now - start) % period_ms)  # what the samples so far stand for
        consumption, generation = self.house.consumption()
        running = (self.slot, max(0, consumption) * length // done, max(0, generation) * length // done)
        plant = self.hal.plant()
        curve = self.trader.make(running, plant, credit_ucr(self.genesis, self.node.state, self.me))
        if not self.whole_slot or self.node.final.slot < self.slot - 1:
            self.announce()  # neighbours may have restarted with us and lost what we said, or were cut off when we said it
        if curve and self.slot >= -1:
            self.offer(topics.COMMIT, self.trader.seal(self.slot + 2, curve, self.hal.entropy(16)))

    def reveal(self, slot):
        order = self.trader.sealed.get(slot)
        if order and self.node.state.commits.get(slot, {}).get(self.me):
            self.offer(topics.ORDER, order)

    def on_final(self, header):
        """A block is final: its commits are fixed, so our order can be shown; its price is news."""
        self.planned = None
        self.trader.price_was(header.slot + 1, header.price_ucr_per_kwh)
        self.reveal(header.slot + 2)
        self.chain.settled(self.node.state.accounts[self.me].next_seq)
        for reading in self.chain.unsettled(self.node.state.accounts[self.me].next_seq)[:MAX_LATE_READINGS]:
            self.offer(topics.READING, reading)  # after void slots: the next ones that a block can take
        gc.collect()
        self.lowest_free = min(self.lowest_free, gc.mem_free())

    def position(self, slot):
        """Net energy bought for a slot by the final clearing, mWh; negative: sold."""
        fills = self.node.state.fills(slot)
        bought, sold = fills.get(self.me, (0, 0))
        return bought - sold

    def plan(self, slot):
        """(slot, net energy to reach, import and export allowance) in mWh, from the final clearing and the envelope."""
        fills = self.node.state.fills(slot)
        bought, sold = fills.get(self.me, (0, 0))
        limits = self.node.pool.limits(slot)
        return (slot, bought - sold) + allowance(self.genesis, self.me, limits, fills)

    def control(self, now):
        """Keep the house at its traded position with what it can move, and inside what the wires carry."""
        trader, power = self.trader, self.house.power_mw
        if not (trader.battery or trader.ev or "pv" in power):
            return
        if not self.planned or self.planned[0] != self.slot:
            self.planned = self.plan(self.slot)
        _, position, import_mwh, export_mwh = self.planned
        plant, period_s = self.hal.plant(), max(1, self.hal.window_ms // 1000)
        done = self.house.energy_mwh.get("grid", 0)
        left_s = max(period_s, (self.genesis.start_ms(self.slot + 1) - now) // 1000)
        pv_mw = power.get("pv", 0)
        load_mw = power.get("grid", 0) + pv_mw - power.get("battery", 0) - power.get("ev", 0)
        ev = trader.ev if plant[2] else None
        battery_mw, ev_mw = dispatch(load_mw - pv_mw, target_mw(position, done, left_s), trader.battery, plant[0], ev,
                                     trader.ev_must_mw(plant, self.slot), plant[3], period_s)
        give, take = trader.battery.limits_mw(plant[0], period_s) if trader.battery else (0, 0)
        ev_mw, battery_mw, pv_limit_mw, shed_mw = guard(
            target_mw(import_mwh, done, left_s), target_mw(export_mwh, -done, left_s), load_mw, pv_mw, ev_mw, battery_mw,
            ev.power_mw if ev and plant[3] else 0, take, give)
        if trader.battery:
            self.hal.set_power("battery", battery_mw)
        if trader.ev:
            self.hal.set_power("ev", ev_mw)
        if "pv" in power:
            self.hal.set_power("pv", min(pv_limit_mw, 0x3FFFFFFF))
            if pv_limit_mw < pv_mw:
                self.count("pv-curtailed")
        if shed_mw:
            self.count("over-import")

    def tell(self, slot):
        """What a person, Home Assistant or the live view wants to see, once a slot."""
        state = self.node.state
        told = {
            "slot": slot, "final_slot": self.node.final.slot, "final_hash": self.node.final_hash.hex(), "counts": self.counts, "epoch": self.wire.epoch,
            "genesis": self.genesis.number, "operator_seq": state.operator_seq,
            "heap_code": self.heap_code, "heap_free": self.lowest_free, "sent": self.session.published, "received": self.session.received}
        if self.wire.plain or self.config.get("tell"):  # else no broker learns what the house uses, unless its people want that
            account = state.accounts[self.me]
            totals = self.house.totals()
            told.update({
                "power_mw": self.house.power_mw, "voltage_mv": self.house.meter.voltage_mv, "flags": self.house.flags,
                "import_mwh": totals[0], "export_mwh": totals[1], "generation_mwh": totals[2],
                "balance_ucr": account.balance_ucr, "green_mwh": account.green_mwh, "position_mwh": self.position(self.slot)})
        self.publish_human("state", json.dumps(told).encode())
