"""What players are worth to the model as a whole: to its loss (SAGE), and to its accuracy."""
