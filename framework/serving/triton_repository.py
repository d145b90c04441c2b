"""A published folder as a model repository of NVIDIA's Triton: what its init container writes.

Triton wants ``<repository>/<name>/config.pbtxt`` and ``<repository>/<name>/1/model.onnx`` or
``model.plan``; published folders are laid out for the framework's own engines. Knows both layouts;
knows neither Kubernetes nor Triton's protocol.
"""

import json
import os
import shutil
from pathlib import Path

from framework.core.errors import ServeError

DESCRIPTION = "config.pbtxt"
"""What Triton is told of a model, in protobuf's text format."""


def lay_out(model: Path, repository: Path, name: str, description: Path) -> None:
    """Lay *model* out in *repository* under *name*; what is there already is replaced.

    Files are linked where both lie on one file system, so that no second copy is needed.

    Args:
        model: the published folder, already verified.
        repository: Triton's model repository.
        name: the model's name there.
        description: its ``config.pbtxt``.

    Raises:
        ServeError: the folder holds nothing that Triton runs, or a file cannot be read or written.
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
    """Return what Triton reads of *model*, each with its name in the version's folder."""
    about = model / "engine.json"
    if about.is_file():
        known = json.loads(about.read_text(encoding="utf-8"))
        if known["runtime"] != "tensorrt":
            raise ServeError(
                f"{model}: Triton opens engines of TensorRT, this one is of {known['runtime']}; "
                "build it with export.runtime=tensorrt"
            )
        return {model / known["engine"]: "model.plan"}
    graph = model / "model.onnx"
    if not graph.is_file():
        raise ServeError(f"{model}: neither model.onnx nor engine.json; build it with export=onnx")
    # Weights beside the graph keep their name, by which the graph finds them.
    return {path: path.name for path in sorted(model.glob("model.onnx*"))}


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # the model is a volume of its own
        shutil.copyfile(source, target)
