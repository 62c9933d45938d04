"""Random trials of what must never go wrong, each case from a seed of its own.

Few of them in the tests, many by `make fuzz`.
"""
