"""Reports and tables of text, from strings and plain dictionaries."""
