"""HTML made of text that stays text."""

import html
from collections.abc import Sequence

MOST_CHARACTERS = 20_000  # of a text; nobody reads more of it on a page


def text(value: object, most: int = MOST_CHARACTERS) -> str:
    """Escapes text for an element or a quoted attribute.

    Args:
      value: anything.
      most: number of characters that are shown.

    Returns:
      The text; a character that UTF-8 cannot hold is a question mark.
    """
    whole = str(value)
    shown = whole if len(whole) <= most else f"{whole[:most]}… ({len(whole) - most:,} more characters)"
    return html.escape(shown).encode("utf-8", "replace").decode()


def element(tag: str, content: object, **attributes: str) -> str:
    """Renders an element that holds text."""
    given = "".join(f' {name}="{text(value)}"' for name, value in attributes.items())
    return f"<{tag}{given}>{text(content)}</{tag}>"


def table(rows: Sequence[Sequence[str]], sortable: bool = False) -> str:
    """Renders a table; the first row holds the titles.

    Args:
      rows: texts of the cells.
      sortable: True for a table that the script of the page sorts by a click on a title.
    """
    head, *body = [
        "".join(f"<{tag}>{text(cell)}</{tag}>" for cell in row)
        for tag, row in zip(["th"] + ["td"] * (len(rows) - 1), rows, strict=True)
    ]
    lines = "".join(f"<tr>{row}</tr>\n" for row in body)
    kind = ' class="sortable"' if sortable else ""
    return f'<div class="box"><table{kind}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}</tbody></table></div>'


def folded(title: str, content: str) -> str:
    """Renders content that opens by a click on its title; `content` is HTML."""
    return f"<details><summary>{text(title)}</summary>\n{content}\n</details>"
