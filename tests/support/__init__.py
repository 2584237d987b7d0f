"""What tests share: servers to start, clients, samples, and readers of the tree."""
