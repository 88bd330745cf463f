"""Looking at fitted estimators."""
