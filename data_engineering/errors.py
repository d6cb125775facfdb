"""Errors that a person has to act on; trying again would not help."""


class DataError(ValueError):
    """The input cannot be published. The message says what, where, which value and what to do."""


class Unavailable(RuntimeError):  # noqa: N818  it is a state, like requests.Timeout
    """A service does not answer, or refuses for now. Another try may do."""
