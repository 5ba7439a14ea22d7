"""Data for the models: toys with a known truth, real digits, and a user's own tables.

``toy``         swiss roll and binary heartbeat, each with its exact density and entropy
``digits``      scikit-learn's 8x8 handwritten digits in fixed splits
``tables``      a user's array or CSV, checked cell by cell
``transforms``  changes of variables between data and model units, with their log-determinants

The first three are NumPy and need no torch; scikit-learn is imported only by the function that reads its
digits. Import from the module that owns the name, as in ``from quasistatic.data.toy import swiss_roll``.
"""
