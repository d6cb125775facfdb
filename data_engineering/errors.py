"""Errors that a person has to act on; trying again would not help."""


class DataError(ValueError):
    """The input cannot be published. The message says what, where, which value and what to do."""
