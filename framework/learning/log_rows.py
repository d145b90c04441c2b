"""What both verbs read of a log, and how they write what they found."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from framework.core.errors import ConfigError
from framework.core.filesystem import write_whole
from framework.requestlog.log_folder import LogFolder

Row = dict[str, Any]


def read_requests(url: str) -> list[Row]:
    """Return the requests of a log by the time of their arrival.

    Raises:
        ConfigError: pyarrow is not installed.
        DataError: a file is damaged.
        SourceError: there is no log.
    """
    rows = [row for _, _, row in _folder(url).read("requests")]
    return sorted(rows, key=lambda row: (row["time"], row["id"] or ""))


def read_feedback(url: str) -> list[Row]:
    """Return the feedback of a log in the order of writing; see ``read_requests``."""
    return [row for _, _, row in _folder(url).read("feedback")]


def _folder(url: str) -> LogFolder:
    if find_spec("pyarrow") is None:
        raise ConfigError("a request log is Parquet files: pip install 'gitune[parquet]'")
    return LogFolder(url)


def number(key: str, value: str, least: float) -> float:
    """Return the number that a word gives.

    Raises:
        ConfigError: it is none, or below *least*.
    """
    try:
        found = float(value)
    except ValueError:
        found = float("nan")
    if not found >= least:
        raise ConfigError(f"command line '{key}={value}': give a number of at least {least:g}")
    return found


def write_json(file: str, content: Mapping[str, Any]) -> None:
    """Write what was found, if a file is named.

    Raises:
        ConfigError: it cannot be written.
    """
    if not file:
        return
    try:
        write_whole(Path(file), json.dumps(content, indent=2, sort_keys=True) + "\n")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}; set json=<another file>") from None
