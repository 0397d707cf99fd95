"""Reading → order → clearing → settlement.

trader.py      what this house wants: forecast.py → bidding.py, with what its devices can move: flexibility.py
book.py        what a tariff, an envelope and a price curve must look like
clearing.py    orders → one price and everybody's fill
settlement.py  fill and reading → money; green.py: coins for renewable energy; statement.py: the feeder account taken apart
envelope.py    what a house may draw and give between clearings, and the guard that holds it there
"""
