"""Experiments, one file for each."""
