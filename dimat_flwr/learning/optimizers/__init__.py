"""The optimizers of local training, one per file."""
