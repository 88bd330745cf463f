"""Scores from predictions that are known already."""
