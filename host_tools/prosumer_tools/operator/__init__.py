"""The grid operator's desk: a folder with the operator's key and everything it has signed for one feeder (`prosumer feeder`).

key.py      operator.pem: the signing key, under a passphrase
plan.py     STREET.toml → what the genesis is to say
record.py   plan → signed genesis or amendment, payment, envelope; each taken up by the firmware's own code before it is written
words.py    a genesis, and what an amendment changes, as people say it
desk.py     the folder: which genesis is the newest, which keys, what was paid
link.py     the broker: retained topics out, the meters' state topics in
publish.py  what the desk holds goes out in its order, until it is seen that the meters took it up
acl.py      who may say what at a mosquitto
status.py   the street at a glance
"""


class OperatorError(Exception):
    """It was not done; the text says why, and nothing was written or sent."""
