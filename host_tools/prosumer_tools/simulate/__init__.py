"""Weeks to a year of a street at market level: the firmware decides, clears and settles on the Unix port, the plant is modelled.

year.py     profiles of a year, when none are given
days.py     suns, clouds and households day by day
houses.py   on the Unix port: plants of some homes, each behind the firmware's trader and guard
pool.py     on the Unix port: the firmware's clearing and settlement
play.py     slot by slot between them
results.py  what came of it, and CSVs; report.py the page
"""
