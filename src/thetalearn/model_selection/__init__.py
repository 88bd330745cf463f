"""Searches and cross-validation that fit all candidates and folds together."""
