"""Opens what a command names: a folder of a run (read into memory), or an archive with one or many feeders."""
import json
from pathlib import Path

from .chain import Refused
from .database import Database
from .store import Archive


class Source:
    """`archive`, `feeder` (8 bytes), and names of members, which nobody signed."""

    def __init__(self, place, feeder=None):
        folder = Path(place)
        self.names = []
        if (folder / "genesis.bin").is_file():
            self.archive = Archive(Database(":memory:"))
            self.feeder, _ = self.archive.bring_in(folder)
            self.names = _names(folder)
        elif folder.is_dir():
            raise Refused(f"{place}: no run here (genesis.bin and a folder records are needed)")
        else:
            self.archive = Archive(Database(place, create=False))
            self.feeder = choose(self.archive, feeder)

    def member(self, text):
        """Its number, given as a number or a name."""
        if text.isdigit():
            return int(text)
        if text not in self.names:
            raise Refused(f"no member {text!r}" + (f"; there are {', '.join(self.names)}" if self.names else ": give a number"))
        return self.names.index(text)


def choose(archive, feeder=None):
    """The feeder that begins so (hex), or has that name; the only one if None."""
    known = archive.feeders()
    fits = [f for f, name in known if feeder is None or f.hex().startswith(feeder.lower()) or name == feeder]
    if len(fits) != 1:
        listed = ", ".join(f"{f.hex()} ({name})" for f, name in known) or "none"
        raise Refused(f"{'no feeder' if not fits else 'several feeders'} {feeder or ''}; this archive has {listed}".replace("  ", " "))
    return fits[0]


def _names(run):
    try:
        homes = json.loads((run / "run.json").read_text())["homes"]
        return [str(h["name"]) for h in sorted(homes, key=lambda h: h["member"])]
    except (OSError, ValueError, KeyError, TypeError):
        return []
