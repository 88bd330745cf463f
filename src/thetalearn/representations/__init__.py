"""How f(x; theta) is written: bases, and later networks, as functions of torch tensors."""
