"""Measurement: the codec beside what a user would pick instead, on the same frames with the same regions.

`quality` measures pictures, `opponents` runs other codecs, `rd` puts curves side by side, `demo` reports on the demo
run.
"""
