"""A receipt as QR symbols that any phone's camera reads: numbered lines of text in base45 (RFC 9285), each a symbol of at most version 25.

    PROSUMER 2/4 1F0A93BC …base45…        part 2 of 4 of the receipt whose SHA-256 begins with 1f0a93bc

The lines, in any order and with whatever else stands between them, give the receipt back. Symbols chained by the standard's own
structured append would be smaller by a line's head, but phones' camera apps do not join them.
"""
import hashlib
import re
from html import escape

import segno

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
PART = 900  # bytes in a symbol: version 25 with error correction M holds 1,451 characters
_LINE = re.compile(r"PROSUMER (\d+)/(\d+) ([0-9A-F]{8}) ([0-9A-Z $%*+\-./:]+?)\s*$", re.M)


class QRError(ValueError):
    """No receipt in these lines, or a part is missing; one line that says which."""


def base45(data):
    out = []
    for i in range(0, len(data), 2):
        n = int.from_bytes(data[i:i + 2], "big")
        digits = 3 if len(data) - i > 1 else 2
        out += [ALPHABET[n // 45 ** d % 45] for d in range(digits)]
    return "".join(out)


def from_base45(text):
    out = bytearray()
    for i in range(0, len(text), 3):
        digits = [ALPHABET.index(c) for c in text[i:i + 3]]
        n = sum(d * 45 ** k for k, d in enumerate(digits))
        size = len(digits) - 1
        if not size or n >= 256 ** size:
            raise QRError("a part is not base45")
        out += n.to_bytes(size, "big")
    return bytes(out)


def lines(receipt):
    parts = [receipt[i:i + PART] for i in range(0, len(receipt), PART)]
    digest = hashlib.sha256(receipt).hexdigest()[:8].upper()
    # a line never ends with a space, which may get lost on the way: the last of a group's digits is at most 32, a space is 36
    return [f"PROSUMER {i + 1}/{len(parts)} {digest} {base45(part)}" for i, part in enumerate(parts)]


def symbols(receipt):
    return [segno.make(line, error="m", boost_error=False, micro=False) for line in lines(receipt)]


def joined(text):
    """The receipt in some text; QRError."""
    parts, of = {}, set()
    for number, total, digest, body in _LINE.findall(text):
        parts[int(number)] = body
        of.add((int(total), digest))
    if not parts:
        raise QRError("no receipt in it")
    if len(of) > 1:
        raise QRError("parts of different receipts")
    total, digest = of.pop()
    missing = [str(i) for i in range(1, total + 1) if i not in parts]
    if missing:
        raise QRError(f"part {', '.join(missing)} of {total} is missing")
    receipt = b"".join(from_base45(parts[i]) for i in range(1, total + 1))
    if hashlib.sha256(receipt).hexdigest()[:8].upper() != digest:
        raise QRError("a part is not as it was written: its sum differs")
    return receipt


def page(receipt, title, text):
    """A page to print, or to show on a screen."""
    made = symbols(receipt)
    pictures = "".join(f"<figure>{symbol.svg_inline(scale=3, border=4)}<figcaption>{i} of {len(made)}</figcaption></figure>"
                       for i, symbol in enumerate(made, 1))
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>body{{font:15px/1.4 sans-serif;margin:2em}}'
            "figure{display:inline-block;margin:0 1.5em 1.5em 0;text-align:center;break-inside:avoid}"
            "pre{font:13px/1.4 monospace;white-space:pre-wrap;overflow-wrap:anywhere}"
            f"</style><h1>{escape(title)}</h1>{pictures}<pre>{escape(text)}\n</pre></html>\n")
