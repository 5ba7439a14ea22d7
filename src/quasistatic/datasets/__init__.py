"""Data sets by name: toys with a known density, digits, images and textures.

Import from the module that owns the name, as in ``from quasistatic.datasets.swiss_roll import swiss_roll``.
"""
