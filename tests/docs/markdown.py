"""Reading the documentation: its fenced blocks, the files it shows and the commands it gives."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^`([\w./]+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read(name: str) -> str:
    """Return a document of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def section(text: str, title: str) -> str:
    """Return what stands under a heading of level 2 or 3, its subsections left out."""
    found = re.search(rf"^#{{2,3}} {re.escape(title)}\n(.*?)(?=^#{{2,3}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section '{title}'"
    return found[1]


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return [body for kind, body in _FENCE.findall(text) if kind == language]


def shown_files(text: str) -> dict[str, str]:
    """Return path -> content of the blocks that stand below their path."""
    return dict(_FILE.findall(text))


def commands(text: str) -> list[list[str]]:
    """Return the words of every ``flwr run`` and ``dimat-flwr`` command in the bash blocks."""
    found = []
    for block in blocks(text, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            for command in _commands(shlex.split(line, comments=True)):
                if command[:2] == ["flwr", "run"] or command[:1] == ["dimat-flwr"]:
                    found.append(command)
    return found


def _commands(words: list[str]) -> list[list[str]]:
    """Return the commands that a line joins by ``&&``."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word == "&&":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts
