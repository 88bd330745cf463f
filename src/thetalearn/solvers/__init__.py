"""How theta is found: least squares, Newton, L-BFGS."""
