"""What coalitions of players are worth to a prediction, and Shapley values from that."""
