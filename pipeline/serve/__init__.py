"""Fovea over HTTP: an API and a page, for those who have signed in. Knows no torch and no Ray: decoding is injected,
and done in processes of its own (worker.py), so that no request waits for another's pictures."""

from pipeline.serve.app import make_app
from pipeline.serve.run import serve

__all__ = ["make_app", "serve"]
