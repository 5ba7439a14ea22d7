"""Measure posteriors against their truth, and write ``records/``: ``PYTHONPATH=src:dev python -m posteriors NAME``.

The names, and what each needs, are listed by ``python -m posteriors --help``.
"""
