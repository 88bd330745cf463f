"""Networks that are trained together, and that predict together."""
