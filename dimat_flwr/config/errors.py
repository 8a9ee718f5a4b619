"""The one error of this room."""

from collections.abc import Sequence


class ConfigError(ValueError):
    """A configuration with faults; the text lists all of them, each with what is allowed."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Make the error from its faults, one line each."""
        self.problems = list(problems)
        plural = "s" if len(self.problems) > 1 else ""
        super().__init__(
            f"the configuration has {len(self.problems)} fault{plural}; nothing was started:\n"
            + "\n".join(f"  - {problem}" for problem in self.problems)
        )
