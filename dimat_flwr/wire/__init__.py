"""What crosses the wire: payloads, the relay's instructions, the peers' reports, and the checks on what arrives.

``instruction`` and ``report`` need no torch, so that the relay can import them; ``payload`` does.
"""
