"""What theta must satisfy: losses of predictions and penalties of coefficients."""
