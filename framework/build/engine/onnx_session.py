"""Open a graph with ONNX Runtime on the CPU; knows no model."""

from pathlib import Path
from typing import Any

from framework.core.error_text import first_line
from framework.core.errors import ServeError

PAST = "past_key_values."
"""Prefix of the inputs that hold a language model's key-value cache."""


def open_session(graph: Path, threads: int) -> Any:
    """Return an ``onnxruntime.InferenceSession`` on the CPU.

    Raises:
        ServeError: there is no such graph, or ONNX Runtime cannot read it.
    """
    import onnxruntime

    if not graph.is_file():
        raise ServeError(f"{graph}: no such file; fetch or export the model again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # warnings are about graph clean-up, which a user cannot change
    # x86 CPUs without VNNI add int8 products in 16 bits, which saturates; this avoids it there.
    options.add_session_config_entry("session.x64quantprecision", "1")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no public base
        raise ServeError(f"{graph}: ONNX Runtime cannot open it: {first_line(error)}") from error
