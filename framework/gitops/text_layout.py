"""Rows of a title and what it names, in 80 columns; what they tell, it does not know."""

import textwrap

_WIDTH = 80
_TITLE = 12
_TIED = "\N{NO-BREAK SPACE}"


def row(title: str, *items: str, margin: int = 2) -> str:
    """Return *items* behind *title*, as many to a line as fit; none of them is broken."""
    start = f"{'':<{margin}}{title:<{_TITLE}}"
    return textwrap.fill(
        ", ".join(item.replace(" ", _TIED) for item in items),
        _WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    ).replace(_TIED, " ")


def sentence(text: str) -> str:
    """Return *text* as lines of two spaces and more, broken between words."""
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
