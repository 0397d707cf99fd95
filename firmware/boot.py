"""Runs first, before main.py and before a REPL: nothing here may fail, so that an installer can always get in."""
