"""Which inputs matter: permutation importance, Shapley values, SAGE, partial dependence.

`model` says what is explained, `games` what a coalition of columns is worth to a prediction; each
measure of importance has a file or room of its own, and `displays` draws them.
"""
