"""What the desk holds goes to the meters, and it is seen that they took it up: a step after the other, since a block takes only the next amendment."""
import sys

from prosumer_tools.operator import OperatorError
from prosumer_tools.operator.record import OPERATOR


class Publisher:
    """`link` has heard what the broker retains; `seconds` is the patience for each step. Steps return how many meters that are on line lag."""

    def __init__(self, desk, link, seconds):
        self.desk, self.link, self.seconds = desk, link, seconds

    def everything(self):
        wrapped, limits, epoch = self.desk.keys_record(), self.desk.envelope(), self.desk.keys().epoch
        late = self.amendments()
        if wrapped:
            self.link.publish(self.desk.feeder_id, "keys", wrapped)
            late += self._wait(f"keys of epoch {epoch}", lambda s: s.get("epoch") == epoch)
        if limits:
            self.send("envelope", limits)
            print("envelope: sent; it shows in the clearing of its slots")
        if self.desk.weather():
            self.send("weather", self.desk.weather())
        return late + self.payments()

    def amendments(self):
        """Each genesis that most meters do not run by yet. OperatorError when one but the newest does not come into force."""
        newest, before, late = self.desk.now["number"], self.most_say("genesis"), 0
        for number in range(newest if before is None else min(before + 1, newest), newest + 1):
            self.link.publish(self.desk.feeder_id, "genesis", self.desk.chain[number])
            late = self._wait(f"genesis {number}", lambda s, number=number: isinstance(s.get("genesis"), int) and s["genesis"] >= number)
            if late and number < newest:
                raise OperatorError(f"genesis {number} is not in force yet: genesis {newest} and all else wait for the next `publish`")
        return late

    def payments(self):
        """Those that the meters have not booked, in their order."""
        self.note_booked()
        waiting = [row for row in self.desk.payments() if row["slot"] is None]
        if not waiting:
            return 0
        for row in waiting:
            self.send("transfer", row["record"], False)
        last = waiting[-1]["seq"]
        late = self._wait(f"payments up to {last}", lambda s: isinstance(s.get("operator_seq"), int) and s["operator_seq"] > last)
        self.note_booked()
        return late

    def send(self, kind, raw, retain=True):
        """One of the operator's records, sealed if the street is."""
        self.link.publish(self.desk.feeder_id, kind, self.desk.keys().seal(kind, OPERATOR, raw), retain)

    def most_say(self, what):
        """The whole number under `what` in the states of most members that are on line; None when nobody says one."""
        living = self.desk.living()
        said = [s.get(what) for name, s in self.link.states.items() if name in living and self.link.online.get(name)]
        said = [number for number in said if isinstance(number, int)]
        return max(set(said), key=said.count) if said else None

    def note_booked(self):
        """Write down which payments most meters say are in a final block."""
        rows, booked, slot = self.desk.payments(), self.most_say("operator_seq"), self.most_say("final_slot")
        new = [row for row in rows if row["slot"] is None and booked is not None and row["seq"] < booked]
        for row in new:
            row["slot"] = slot
        if new:
            self.desk.write_payments(rows)

    def _wait(self, what, holds):
        """Watch the meters take it up."""
        live, said = sys.stdout.isatty(), [-1]

        def progress(done, of):
            if done != said[0]:
                said[0] = done
                print(f"{what}: {done} of {of} meters have it", end="\r" if live else "\n", flush=True)

        result = self.link.wait(list(self.desk.living()), holds, self.seconds, progress)
        if live:
            print()
        for word, text in (("waits", f"did not take it up within {self.seconds:g} s"), ("offline", "offline; the broker keeps it for them")):
            names = [name for name, how in result.items() if how == word]
            if names:
                print(f"  {', '.join(names)}: {text}")
        return sum(how == "waits" for how in result.values()) + (not any(how == "done" for how in result.values()))
