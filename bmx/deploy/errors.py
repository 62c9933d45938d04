class ExportError(ValueError):
    """A network that cannot be converted faithfully; the message names the layer."""
