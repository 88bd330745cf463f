"""Many fits at once, one file for each family of estimators."""
