"""Predictions along columns, averaged over the others."""
