"""What a person or Flower starts."""
