"""Files of arrays, tables, images and observations."""
