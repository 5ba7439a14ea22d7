"""Files: read with checks, written whole or not at all, and modules saved without pickles."""
