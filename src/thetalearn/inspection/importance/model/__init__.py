"""A fitted estimator as a function of columns that can be exchanged between rows."""
