"""Decentralized federated learning on Flower: peers train, align and merge; a relay only forwards their messages."""

__version__ = "0.2.0"
