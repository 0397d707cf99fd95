"""A small agent for tests of the emulator: each period it tells its neighbours the time; who hears it must be at that very time.

Its counter in flash is written by rename; at boot it must be readable and never lower than what it published.
"""
import json
import os

import machine
from prosumer.hal.unix import Hal
from umqtt.simple import MQTTClient

with open("/config.json") as file:
    config = json.load(file)


class Link:
    published = received = unacked = 0
    sock = None

    def __init__(self):
        self.queue = []

    def connect(self):
        self.client = MQTTClient(config["name"], "127.0.0.1", config["port"], config.get("user"), config.get("password"))
        self.client.set_callback(self.heard)
        self.client.connect()
        self.client.sock.setsockopt(6, 1, 1)
        self.client.subscribe(b"feeder/#", 1)
        self.sock = self.client.sock

    def heard(self, topic, message):
        self.received += 1
        self.queue.append(message)

    def tell(self, message):
        self.published += 1
        self.client.publish("feeder/" + config["name"], message, False, 1)


def load():
    try:
        with open("/count") as file:
            return int(file.read())
    except OSError:
        return 0


def save(count):
    with open("/count.new", "w") as file:
        file.write("%d" % count)
    os.rename("/count.new", "/count")


def main():
    hal, link, count = Hal(), Link(), load()
    period, late = config["period_ms"], 0
    due = retry = 0
    print("up", count, machine.unique_id().hex())
    due = (hal.now_ms() // period + 1) * period
    while True:
        now = hal.now_ms()
        try:
            if link.sock is None and now >= retry:
                link.connect()
            while link.queue:
                kind, stamp = link.queue.pop(0).split(b" ")
                if int(stamp) != now:
                    late += 1
                    print("LATE", int(stamp) - now)
                if kind == b"tell" and config.get("answers"):
                    link.tell(b"answer " + stamp)
            if now >= due:
                due = (now // period + 1) * period
                count += 1
                save(count)
                if link.sock:
                    link.tell("tell %d" % now)
                continue
            if hal.wait(due if link.sock else min(due, max(retry, now + 1)), link):
                link.client.wait_msg()
        except (OSError, IndexError, AssertionError) as error:
            print("lost", repr(error))
            link.sock, retry = None, now + 1000
            link.queue.clear()


main()
