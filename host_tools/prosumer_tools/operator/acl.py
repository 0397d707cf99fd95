"""mosquitto's access list for a street: what each meter may say. Everything is signed; the list keeps a stranger from filling the queues."""
_OWN = ("sketch", "vote", "ask", "chain")                 # a meter's own voice in the agreement
_ANY = ("reading", "commit", "order", "transfer", "evidence")   # records of anybody: a meter forwards what a proposer left out
_OPERATOR = ("envelope", "genesis")                         # the operator's, forwarded likewise

_HEAD = """\
# made by `prosumer feeder acl`; make it again when members change
pattern write prosumer/%u/state
pattern write prosumer/%u/availability
pattern read prosumer/%u/#
"""


def acl(desk):
    """The file's text. Users are called like the homes; topics are numbered like the members."""
    feeder = desk.now["feeder_id"][:8]
    out = [_HEAD]
    for name, member in desk.living().items():
        topics = [f"{kind}/{member}" for kind in _OWN] + [f"{kind}/+" for kind in _ANY] + [f"{kind}/255" for kind in _OPERATOR]
        blocks = [f"topic read b/{feeder}/#", f"topic write b/{feeder}/proposal/{member}"]
        out.append("\n".join([f"user {name}", f"topic read p/{feeder}/#", *[f"topic write p/{feeder}/{topic}" for topic in topics], *blocks,
                              f"topic write a/{feeder}/ask/{member}", f"topic read a/{feeder}/answer/{member}"]) + "\n")
    out.append(f"user archive\ntopic read p/{feeder}/#\ntopic read b/{feeder}/#\ntopic read a/{feeder}/ask/+\ntopic write a/{feeder}/answer/+\n")
    out.append(f"user operator\ntopic readwrite p/{feeder}/#\ntopic read prosumer/#\n"
               f"topic write a/{feeder}/ask/255\ntopic read a/{feeder}/answer/255\n")
    return "\n".join(out)
