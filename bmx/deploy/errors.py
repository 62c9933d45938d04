class ExportError(ValueError):
    """A network that cannot be converted faithfully; the message names the layer."""


class LoadError(ValueError):
    """A file that is not what its name promises; the message says which, and what is wrong with it."""
