"""How payloads become blobs: ``base`` is the seam, every other module one codec, chosen by ``conf/codec``."""
