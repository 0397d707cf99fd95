"""A whole street on a desk: genesis and enrolment, the plant behind the clamps, the recorder, the run's summary.

genesis.py     the operator's key, the signed genesis and envelopes
source.py      profiles and plant → what each clamp sees
recorder.py    listens on the broker, keeps every final block with its certificate
follower.py    a real archive beside the street, and the receipt it gives
play.py        flashes, boots, enrols, plays and records a street (`prosumer demo`, `prosumer neighbourhood`)
summary.py     RUN → the numbers and pictures a person sees
"""
