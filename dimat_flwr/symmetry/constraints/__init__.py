"""What moves together, written down while the graph is executed symbolically: atoms, roles, ties, blocks."""
