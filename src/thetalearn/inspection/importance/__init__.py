"""Which inputs matter: permutation importance, Shapley values, SAGE, partial dependence."""
