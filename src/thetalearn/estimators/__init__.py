"""What the user holds: one file a family of estimators."""
