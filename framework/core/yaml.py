"""The only YAML dumper: its output means the same to YAML 1.1 and YAML 1.2 parsers.

A string is only left unquoted if it is clearly a word (see ``_is_plain``). All others are quoted, so
``y``, ``1e3``, ``0o17``, ``12:30:45`` and ``~`` stay strings in every parser. It does not know what the data
means.
"""

import re
from typing import Any

import yaml

# Some builds of PyYAML lack libyaml; both dumpers write the same text, this one ten times faster.
_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_RESERVED = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity"})
_WORD = r"[A-Za-z0-9_./@%+=-]+(?::[A-Za-z0-9_./@%+=-]+)*"
_PLAIN = re.compile(rf"[A-Za-z/]{_WORD}(?: {_WORD})*|[A-Za-z/]")
_LITERAL = re.compile(r"[ -~\n]*[!-~]\n?")
_ENDS_BLANK = re.compile(r"[ ](?:\n|\Z)")


def dump(value: Any) -> str:
    """Return *value* as YAML text: block style, sorted keys, no aliases, no folded lines.

    Args:
        value: dicts with string keys, lists, strings, numbers, booleans and None.

    Raises:
        yaml.representer.RepresenterError: *value* contains anything else.

    >>> print(dump({"b": ["y", "yes please"], "a": "1e3"}), end="")
    a: "1e3"
    b:
    - "y"
    - yes please
    """
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=True, width=1_000_000
    )
    return text


def _is_plain(text: str) -> bool:
    """Return whether every parser reads unquoted *text* as this string.

    Numbers, dates and sexagesimals start with a digit, a sign or a dot, so requiring a leading letter
    excludes them all. The remaining exceptions are reserved words.
    """
    return _PLAIN.fullmatch(text) is not None and text.lower() not in _RESERVED


class _Dumper(_Base):  # type: ignore[misc]
    """The safe dumper with this module's rules for strings."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: Any, text: str) -> Any:
    style = None if _is_plain(text) else '"'
    if "\n" in text and text[0] not in " \n" and _LITERAL.fullmatch(text) and not _ENDS_BLANK.search(text):
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _refuse(dumper: Any, value: Any) -> Any:
    raise yaml.representer.RepresenterError(f"cannot dump a {type(value).__name__}: {value!r}")


_Dumper.add_representer(str, _represent_text)
for _kind in set(yaml.SafeDumper.yaml_representers) - {str, dict, list, int, float, bool, type(None)}:
    _Dumper.add_representer(_kind, _refuse)
