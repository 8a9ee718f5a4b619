"""What makes a relay need no trust: identities of peers, and payloads that are signed and, if asked, sealed.

Nothing here imports torch: the command and the relay read identities too.
"""
