"""The gradient engine: K replicas of a model, trained at once by gradient steps."""
