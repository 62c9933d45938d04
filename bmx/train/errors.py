"""The one exception of the training code that is a message to the person who trains."""


class TrainingError(Exception):
    """A training that cannot start or go on; the text says what was wrong, where, and what to do."""
