"""One file per experiment; the catalogue lists them."""
