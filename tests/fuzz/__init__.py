"""Random trials of what must never go wrong, each case from a seed of its own: few of them in the tests, many by `make fuzz`."""
