"""``run pin model=<option>``: pin a model option's source to its current revision and sha256.

The pinned option is written to the caller's ``./conf``, which has precedence; the options of an installed
framework are not changed.
"""

import re
from pathlib import Path
from typing import Any

from framework.core.download import content_sha256
from framework.core.errors import ConfigError
from framework.core.filesystem import write_whole
from framework.core.paths import SHARE
from framework.core.source import Source


def pin(option: str, model: Any) -> str:
    """Resolve the source of the model *option*, write it to ``conf/model/<option>.yaml``, and report it.

    Args:
        option: the option's name.
        model: the option's composed keys, including ``source``.

    Raises:
        ConfigError: the option has no source to pin.
        SourceError: the hub does not answer, or the bytes cannot be fetched.
    """
    if not model.get("source"):
        raise ConfigError(f"model={option}: this option has no source to pin")
    source = Source.model_validate(model["source"])
    exact = source.resolve()
    sha256 = exact.sha256 or content_sha256(exact.fetch())
    relative = Path("conf") / "model" / f"{option}.yaml"
    text = next(root / relative for root in (Path.cwd(), SHARE) if (root / relative).is_file()).read_text()
    target = Path.cwd() / relative
    write_whole(target, pinned_text(text, source.url, exact.url, sha256))
    return f"{relative}: pinned\n  url: {exact.url}\n  sha256: {sha256}"


def pinned_text(text: str, url: str, exact_url: str, sha256: str) -> str:
    r"""Return an option's YAML with the exact URL and its sha256, otherwise unchanged.

    Raises:
        ConfigError: the YAML has no line with *url*.

    >>> print(pinned_text("source:\n  # Not pinned: yet.\n  url: hf://a/b@main\n", "hf://a/b@main",
    ...     "hf://a/b@0123", "ab"))
    source:
      url: hf://a/b@0123
      sha256: ab
    <BLANKLINE>
    """
    without = re.sub(r"^ *(sha256:|# Not pinned:).*\n", "", text, flags=re.MULTILINE)
    line = re.compile(rf"^( *)(source|url): *{re.escape(url)} *$", re.MULTILINE)
    match = line.search(without)
    if match is None:
        raise ConfigError(
            f"the option's YAML has no line 'url: {url}'; write the URL on one line and pin again"
        )
    indent = match[1] if match[2] == "url" else f"{match[1]}  "
    head = "" if match[2] == "url" else f"{match[1]}source:\n"
    replacement = f"{head}{indent}url: {exact_url}\n{indent}sha256: {sha256}"
    return without[: match.start()] + replacement + without[match.end() :]
