"""One HTML file that needs nothing else and lets nothing else in."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from string import Template
from typing import Any

from dimat_flwr.records.page.script_lines import LINES
from dimat_flwr.records.page.script_others import OTHERS
from dimat_flwr.records.page.style import STYLE

_SCRIPT = LINES + OTHERS
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
$refresh<title>$title</title>
<style>$style</style>
</head>
<body class="$kind">
<h1>$title</h1>
$body
<script type="application/json" id="data">$data</script>
<script>$script</script>
</body>
</html>
""")
_REFRESH = '<meta http-equiv="refresh" content="15">\n'


@dataclass(frozen=True, kw_only=True)
class PageParts:
    """What a page is made of.

    Attributes:
        title: plain text.
        kind: class of the body, a word.
        body: HTML, in which everything that anybody wrote is escaped.
        charts: what the script draws; each into the element of its ``id``.
        refresh: whether the page loads itself anew every 15 seconds.
    """

    title: str
    kind: str
    body: str
    charts: Sequence[Mapping[str, Any]]
    refresh: bool = False


def document(parts: PageParts) -> str:
    """Return the whole page.

    Only the script and the style that are in it may run, by their hashes: even if something were not escaped, a browser
    would neither run it nor load anything for it.
    """
    policy = (
        f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(STYLE)}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    return _PAGE.substitute(
        policy=policy,
        refresh=_REFRESH if parts.refresh else "",
        title=escape(parts.title),
        style=STYLE,
        kind=escape(parts.kind),
        body=parts.body,
        data=embedded(parts.charts),
        script=_SCRIPT,
    )


def embedded(value: Any) -> str:
    """Return JSON that nothing within a script element can end."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII only: U+2028 and all that is escaped
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def figure(identity: str, caption: str, image: bytes | None = None, alt: str = "") -> str:
    """Return the place of a chart.

    Args:
        identity: the chart's ``id``.
        caption: HTML below it.
        image: a PNG to show where no script runs.
        alt: what it shows, as plain text.
    """
    instead = ""
    if image is not None:
        source = "data:image/png;base64," + base64.b64encode(image).decode("ascii")
        instead = f'<noscript><img alt="{escape(alt)}" src="{source}"></noscript>'
    return f'<figure id="{escape(identity)}">{instead}<figcaption>{caption}</figcaption></figure>\n'


def table(kind: str, columns: Sequence[str], rows: Sequence[Sequence[str]], words: int = 0) -> str:
    """Return a table of plain texts.

    Args:
        kind: its class.
        columns: their names.
        rows: their cells, as many as there are columns.
        words: how many of the first columns hold words and stand on the left.
    """
    if not rows:
        return "<p>None.</p>"

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=word' if k < words else ''}>{escape(text)}</{tag}>" for k, text in enumerate(texts)
        )

    head = cells("th", [column.replace("_", " ") for column in columns])
    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table class="{kind}"><tr>{head}</tr>\n{body}</table></div>\n'


def tiles(shown: Sequence[tuple[str, str]]) -> str:
    """Return the headline figures: (value, what it is), as plain texts."""
    inner = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in shown
    )
    return f'<div class="tiles">{inner}</div>\n'


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
