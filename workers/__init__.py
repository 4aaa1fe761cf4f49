"""Fovea on Ray: thin actors around the plain stages of `pipeline.graph`, one a file, and their supervisor.

Ray is imported here and nowhere else. `workers.runtime` must be entered before `workers.supervisor` is imported, for
Ray reads part of its settings when it is imported.
"""
