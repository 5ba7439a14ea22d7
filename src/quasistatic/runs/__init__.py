"""Training and use of run folders."""
