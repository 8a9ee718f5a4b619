"""How the learning rate changes over the rounds, one schedule per file."""
