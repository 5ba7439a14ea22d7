"""Run folders: training into one, and what can be done with a trained one."""
