"""Networks: layers and activations for training by explicit backpropagation."""
