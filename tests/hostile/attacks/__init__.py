"""What one hostile peer may answer in the place of its honest reply, by what the answer is made of."""

from tests.hostile.attacks import handshakes, payloads, records, reports, told
from tests.hostile.attacks.base import ESCAPES, EVERY, EXCHANGE, HANDSHAKE, SCRIPT, Act, Turn

__all__ = [
    "ESCAPES", "EVERY", "EXCHANGE", "HANDSHAKE", "SCRIPT", "Act", "Turn",
    "handshakes", "payloads", "records", "reports", "told",
]  # fmt: skip
