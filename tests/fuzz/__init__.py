"""Mutational fuzzers in plain Python: `python -m tests.fuzz TARGET --runs N --seed S`.

A target is a module of this package, named in TARGETS, with two functions:

    make(rng) -> bytes      an input: a valid one, damaged; the same for the same state of `rng`
    run(data) -> None       give it to the code; StreamError means refused, any other exception is a bug
"""

TARGETS = ("reader", "packets", "layer")
