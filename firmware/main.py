"""Load the board, prove entropy and identity, run the agent. A meter that is not enrolled yet shows its key and waits."""
import json

from prosumer.errors import Halt, Reject

import board


def config():
    try:
        with open("/config.json") as f:
            return json.load(f)
    except OSError:
        return None


def genesis():
    from prosumer.identity.members import Genesis
    try:
        with open("/genesis.bin", "rb") as f:
            return Genesis(f.read())
    except OSError:
        return None


def main():
    from prosumer.identity.keystore import KeyStore
    hal = board.hal()
    keys = KeyStore("/seed.key", hal.unique_id())
    if not keys.exists():
        keys.create(hal.entropy)
    signer = keys.open()
    print("meter", signer.public.hex())
    settings, feeder = config(), genesis()
    if not settings or not feeder:
        print("not enrolled: provision /config.json and /genesis.bin, then reset")
        return
    from prosumer.agent import Agent
    from prosumer.metering.calibration import Calibration
    Agent(hal, settings, board.channels(settings), board.calibration(settings), signer, feeder).run()


try:
    main()
except (Halt, Reject) as e:
    print("HALT:", e)
