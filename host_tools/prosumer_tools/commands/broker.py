"""How the commands of the archive name the street's broker."""
import os
from pathlib import Path

from prosumer_tools.archive.chain import Refused


def add_arguments(a):
    a.add_argument("--broker", required=True, metavar="HOST[:PORT]")
    a.add_argument("--user", metavar="NAME")
    a.add_argument("--password-file", type=Path, metavar="FILE", help="or $PROSUMER_PASSWORD")
    a.add_argument("--tls", metavar="CA", help="the broker's certificate authority")
    a.add_argument("--certificate", nargs=2, metavar=("CERT", "KEY"), help="one's own, for a broker that asks for one")


def named(args):
    """(host, port, user, password, tls) as the clients of MQTT take them. Refused, OSError."""
    for path in (args.tls, *(args.certificate or ())):
        if path:
            Path(path).read_bytes()  # what is not there is told with its name
    password = args.password_file.read_text().strip() if args.password_file else os.environ.get("PROSUMER_PASSWORD")
    return *address(args.broker, 1883), args.user, password, (args.tls, *(args.certificate or (None, None))) if args.tls else None


def address(text, port):
    """(host, port) of HOST or HOST:PORT. Refused."""
    host, colon, number = text.rpartition(":")
    if text and not colon:
        return text, port
    if not (host and number.isdigit() and int(number) < 1 << 16):
        raise Refused(f"{text!r} is no HOST:PORT")
    return host, int(number)
