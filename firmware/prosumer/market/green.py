"""Green coins: one for each metered renewable mWh, transferable, retired when used as a certificate.

An account is (held_mwh, retired_mwh). Coins are minted as the advance of a generation register, which never
decreases and is signed with every reading, so that a mWh cannot be minted twice, whatever is sent again.
"""
from prosumer.errors import Reject


def mint(account, minted_to_mwh, register_mwh):
    """(account, minted_to_mwh) after a reading of the PV register; `minted_to_mwh` is where minting stands."""
    if register_mwh < minted_to_mwh:
        raise Reject("green-register-decreased")
    held, retired = account
    return (held + register_mwh - minted_to_mwh, retired), register_mwh


def _check(account, amount_mwh):
    if type(amount_mwh) is not int or amount_mwh <= 0:
        raise Reject("green-amount-not-positive")
    held, retired = account
    if amount_mwh > held + retired:
        raise Reject("green-unfunded")
    if amount_mwh > held:
        raise Reject("green-already-retired")


def transfer(giver, taker, amount_mwh):
    """(giver, taker) afterwards; Reject('green-unfunded' or 'green-already-retired')."""
    _check(giver, amount_mwh)
    return (giver[0] - amount_mwh, giver[1]), (taker[0] + amount_mwh, taker[1])


def retire(account, amount_mwh):
    """The account after coins were used as a certificate: they cannot move again."""
    _check(account, amount_mwh)
    return account[0] - amount_mwh, account[1] + amount_mwh
