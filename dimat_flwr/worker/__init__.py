"""A device's own process that lives on from message to message: imports, configuration, data and traced network once.

Flower starts a process for every message to a device. With a worker that process imports nothing but Flower and this
room: it hands the message over a Unix socket to the worker of its place (``ask``), which it starts if there is none,
and returns the worker's answer. The state stays where it was, in Flower's memory and in checkpoints: the worker is
given it with each message, keeps nothing but caches, and may be killed at any moment.

What the worker does with a message is handed in (``serve``): this room imports no torch, and lies below the peer's.
"""
