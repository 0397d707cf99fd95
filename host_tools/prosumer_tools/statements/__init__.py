"""Statements from a run's final blocks: accounts.py says what moved, page.py prints it."""
