"""The `prosumer` command: its sub-commands in the order of the walk, then those around it."""
import argparse
import importlib
import sys

# The order is that of `prosumer --help`.
COMMANDS = ("meter", "sign", "check", "clear", "settle", "headers", "receipt", "check-receipt", "statement", "archive",
            "simulate", "verify", "demo", "neighbourhood", "image", "flash", "provision", "keys", "calibrate", "emulate", "feeder")


def parser():
    top = argparse.ArgumentParser(
        prog="prosumer", description="Meters that trade their street's electricity among themselves.",
        epilog="The walk of a record: sample → reading → signed reading → order → clearing → settlement → header.")
    subparsers = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        importlib.import_module(f"prosumer_tools.commands.{name.replace('-', '_')}").add_parser(subparsers)
    return top


def main(argv=None):
    try:
        args = parser().parse_args(argv)
        return args.run(args)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
