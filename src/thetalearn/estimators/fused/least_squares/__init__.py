"""Least-squares regressors that are fitted together."""
