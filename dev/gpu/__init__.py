"""Image models on a GPU that is lent ten minutes at a time: check, measure, train, and take the training home.

See dev/gpu.md for the commands.
"""
