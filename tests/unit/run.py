"""Run the `test_*` functions of files on the MicroPython Unix port, in order of their names.

    micropython tests/unit/run.py tests/unit/test_market_clearing.py …

Prints `PASS name` or `FAIL name` with the traceback; exits 1 if any failed. Tests are plain functions
with `assert`, so the same file can be mounted and run on a board.
"""
import gc
import sys

here = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
sys.path.insert(0, here + "/../../firmware")
sys.path.insert(0, here)


def main(paths):
    failed = count = 0
    for path in paths:
        name = path.rsplit("/", 1)[-1][:-3]
        module = __import__(name)
        for test in sorted(t for t in dir(module) if t.startswith("test_")):
            gc.collect()
            count += 1
            try:
                getattr(module, test)()
                print("PASS", test)
            except Exception as e:
                failed += 1
                print("FAIL", test)
                sys.print_exception(e, sys.stdout)
    print("%d passed, %d failed" % (count - failed, failed))
    return 1 if failed or not count else 0


sys.exit(main(sys.argv[1:]))
