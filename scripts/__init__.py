"""Tools of the checkout: they generate and compare."""
