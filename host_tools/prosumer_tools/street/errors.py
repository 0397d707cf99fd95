class PlayError(Exception):
    """The street cannot be played; the text says why."""
