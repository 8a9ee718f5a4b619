"""What crosses the wire: payloads as blobs, codecs, instructions, reports; every byte from outside is distrusted here.

``names``, ``blob``, ``instruction`` and ``report`` need no torch, so that the relay can import them; ``payload`` and
``codecs`` do.
"""
