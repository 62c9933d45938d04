"""Compare a deployed network with the float network it was made of."""
import mxnet as mx
import numpy as np


class Comparison:
    """How the outputs of two networks agree.

    Attributes
    ----------
    images : int
        Inputs compared.
    differing : list of int
        Positions of the inputs whose top-1 differs.
    max_difference, scale : float
        Largest absolute difference of an output, and largest absolute output.
    """

    def __init__(self):
        self.images, self.differing, self.max_difference, self.scale = 0, [], 0.0, 0.0

    def update(self, expected, found):
        """Add a batch of outputs; arrays of shape (N, ...)."""
        self.max_difference = max(self.max_difference, float(np.abs(expected - found).max()))
        self.scale = max(self.scale, float(np.abs(expected).max()))
        rows = expected.reshape(len(expected), -1).argmax(1) != found.reshape(len(found), -1).argmax(1)
        self.differing.extend(int(row) + self.images for row in np.flatnonzero(rows))
        self.images += len(expected)

    @property
    def equal(self):
        """Whether every top-1 agrees and no output differs by more than float addition order explains."""
        return not self.differing and self.max_difference <= 1e-4 * max(self.scale, 1e-30)

    def __str__(self):
        return ('top-1 equal on %d of %d inputs, largest difference %.2g of outputs up to %.3g'
                % (self.images - len(self.differing), self.images, self.max_difference, self.scale))


def compare(net, deployed, batches):
    """Run both networks on the same inputs.

    Parameters
    ----------
    net, deployed : gluon.Block
    batches : iterable of NDArray
        Inputs, batch first.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        No inputs, or an output that is not finite.
    """
    comparison = Comparison()
    for batch in batches:
        outputs = []
        for network in (net, deployed):
            with mx.autograd.pause():
                result = network(batch)
            values = [part.asnumpy() for part in (result if isinstance(result, (list, tuple)) else [result])]
            if not all(np.isfinite(part).all() for part in values):
                raise ValueError('the output of %s is not finite' % network.name)
            outputs.append(values)
        for expected, found in zip(*outputs):
            if expected.shape != found.shape:
                raise ValueError('outputs have different shapes: %s and %s' % (expected.shape, found.shape))
        # The first output decides the top-1; of the others only the values are compared.
        comparison.update(outputs[0][0], outputs[1][0])
        for expected, found in zip(outputs[0][1:], outputs[1][1:]):
            comparison.max_difference = max(comparison.max_difference, float(np.abs(expected - found).max()))
    if not comparison.images:
        raise ValueError('there are no inputs to compare the networks on')
    return comparison
