"""From what was written down to groups: classes that may be exchanged, where they lie, and where they are seen."""
