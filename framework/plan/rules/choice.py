"""The override that chooses options of a group that allows several."""

from collections.abc import Iterable


def choice(group: str, names: Iterable[str]) -> str:
    """Return the override that chooses the options *names* of *group*; ``none`` if there are none.

    >>> choice("clean", ["pii"]), choice("clean", ["exact", "pii"]), choice("clean", [])
    ('clean=pii', 'clean=[exact,pii]', 'clean=none')
    """
    chosen = [*names] or ["none"]
    return f"{group}={chosen[0] if len(chosen) == 1 else '[' + ','.join(chosen) + ']'}"
