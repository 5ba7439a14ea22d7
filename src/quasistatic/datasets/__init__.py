"""Data sets by name.

Import from the module that owns the name, as in ``from quasistatic.datasets.swiss_roll import swiss_roll``.
"""
