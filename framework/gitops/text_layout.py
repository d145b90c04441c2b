"""Lay out titled rows and wrapped sentences in 80 columns."""

import textwrap

_WIDTH = 80
_TITLE = 12
_TIED = "\N{NO-BREAK SPACE}"


def row(title: str, *items: str, margin: int = 2) -> str:
    """Return *title* and a comma-separated list of *items*; lines break between items only."""
    start = f"{'':<{margin}}{title:<{_TITLE}}"
    return textwrap.fill(
        ", ".join(item.replace(" ", _TIED) for item in items),
        _WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    ).replace(_TIED, " ")


def paragraph(title: str, text: str) -> str:
    """Return *title* and *text*, broken between words."""
    start = f"  {title:<{_TITLE}}"
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )


def sentence(text: str) -> str:
    """Return *text* as indented lines, broken between words."""
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
