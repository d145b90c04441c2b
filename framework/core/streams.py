"""Standard output and error that print any text, whatever the terminal's or log's encoding."""

import io
import os
import sys


def print_any_text() -> None:
    """Replace characters that the encoding lacks, here and in the Python processes that this one starts.

    Otherwise one letter of a model's answer ends a command whose work is done.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    encoding = os.environ.get("PYTHONIOENCODING", "").partition(":")[0]
    os.environ["PYTHONIOENCODING"] = f"{encoding}:replace"
