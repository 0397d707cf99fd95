"""Why something was refused: one exception, one short code a person can look up and a meter can count."""


class Reject(ValueError):
    """Input that is malformed, forged, replayed, oversized or against the rules; nothing was changed.

    `code` is kebab-case and never carries a secret or the input itself.
    """

    def __init__(self, code):
        super().__init__(code)
        self.code = code


class Halt(RuntimeError):
    """The device must not go on (entropy not real, key store corrupted): stop with this reason, never fall back."""
