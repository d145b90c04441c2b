"""Lay a published folder out as a model repository for NVIDIA's Triton, in the pod's init container.

Triton expects ``<repository>/<name>/config.pbtxt`` and ``<repository>/<name>/1/model.onnx`` or
``model.plan``. Published folders have the layout of the framework's engines. This module knows both; it
knows neither Kubernetes nor Triton's protocol.
"""

import json
import os
import shutil
from pathlib import Path

from framework.core.errors import ServeError

DESCRIPTION = "config.pbtxt"
"""Triton's description of a model, in protobuf's text format."""


def lay_out(model: Path, repository: Path, name: str, description: Path) -> None:
    """Lay *model* out in *repository* under *name*, and replace any earlier one.

    Files are hard links if both are on one file system, else copies.

    Args:
        model: the published folder, already verified.
        repository: Triton's model repository.
        name: the model's name there.
        description: its ``config.pbtxt``.

    Raises:
        ServeError: Triton cannot run the folder's model, or a file cannot be read or written.
    """
    files = _files(model)
    try:
        folder = repository / name
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "1").mkdir(parents=True)
        for source, target in files.items():
            _link(source, folder / "1" / target)
        shutil.copyfile(description, folder / DESCRIPTION)
    except OSError as error:
        raise ServeError(f"{error.filename}: cannot be laid out for Triton: {error.strerror}") from error


def _files(model: Path) -> dict[Path, str]:
    """Return the files of *model* that Triton reads, each with its name in the version's folder."""
    about = model / "engine.json"
    if about.is_file():
        engine = json.loads(about.read_text(encoding="utf-8"))
        if engine["runtime"] != "tensorrt":
            raise ServeError(
                f"{model}: Triton needs an engine of tensorrt, this one is of {engine['runtime']}; "
                "build it with export.runtime=tensorrt"
            )
        return {model / engine["engine"]: "model.plan"}
    graph = model / "model.onnx"
    if not graph.is_file():
        raise ServeError(f"{model}: has neither model.onnx nor engine.json; build it with export=onnx")
    # External weights keep their name, which the graph refers to.
    return {path: path.name for path in sorted(model.glob("model.onnx*"))}


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # the model is on another volume
        shutil.copyfile(source, target)
