class ExportError(ValueError):
    """A network that cannot be converted faithfully; the message names the layer."""


class LoadError(ValueError):
    """A file that is not what its name promises; the message says which, and what is wrong with it."""


def sentence(error):
    """What an MXNetError says, without its traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line.partition('MXNetError: ')[2] for line in lines if 'MXNetError: ' in line]
    return (named or lines)[-1]
