"""Files of a user: arrays, tables, images and observations."""
