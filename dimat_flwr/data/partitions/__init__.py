"""Ways to split the training samples among the peers, one per file."""
