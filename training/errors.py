"""Errors that a person has to act on; trying again would not help."""


class TrainingError(ValueError):
    """No model can be trained or promoted. The message says what, which value and what to do."""
