"""Measure posteriors against their truth, and write ``records/``: ``PYTHONPATH=src:tools python -m posteriors NAME``.

The names, and what each needs, are listed by ``python -m posteriors --help``.
"""
