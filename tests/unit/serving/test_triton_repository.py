import json

import pytest

from framework.core.errors import ServeError
from framework.serving.triton_repository import lay_out


def published(folder, files):
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def described(folder, text=""):
    path = folder / "config.pbtxt"
    path.write_text(text)
    return path


def engine(runtime):
    about = json.dumps({"engine": "model.sm89.engine", "runtime": runtime})
    return {"engine.json": about, "model.sm89.engine": "engine", "model.onnx": "graph"}


def laid_out(repository):
    return {
        path.relative_to(repository).as_posix(): path.read_text()
        for path in repository.rglob("*")
        if path.is_file()
    }


def test_graph_and_weights_are_in_tritons_layout(tmp_path):
    files = {"model.onnx": "graph", "model.onnx.data": "weights", "tokenizer.json": "{}"}
    model, repository = published(tmp_path / "model", files), tmp_path / "repository"
    lay_out(model, repository, "tiny", described(tmp_path, "max_batch_size: 8\n"))
    assert laid_out(repository) == {
        "tiny/config.pbtxt": "max_batch_size: 8\n",
        "tiny/1/model.onnx": "graph",
        "tiny/1/model.onnx.data": "weights",
    }
    assert (repository / "tiny/1/model.onnx").stat().st_nlink == 2  # no second copy on the disk


def test_engine_is_named_model_plan(tmp_path):
    model = published(tmp_path / "model", engine("tensorrt"))
    lay_out(model, tmp_path / "repository", "tiny", described(tmp_path))
    assert laid_out(tmp_path / "repository") == {"tiny/config.pbtxt": "", "tiny/1/model.plan": "engine"}


def test_second_start_replaces_the_first_layout(tmp_path):
    repository = tmp_path / "repository"
    lay_out(published(tmp_path / "old", engine("tensorrt")), repository, "tiny", described(tmp_path, "old"))
    lay_out(
        published(tmp_path / "new", {"model.onnx": "graph"}), repository, "tiny", described(tmp_path, "new")
    )
    assert laid_out(repository) == {"tiny/config.pbtxt": "new", "tiny/1/model.onnx": "graph"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (engine("tensorrt-rtx"), r"export\.runtime=tensorrt"),
        ({"model.safetensors": "weights"}, "export=onnx"),
    ],
)
def test_unsupported_model_is_rejected_with_an_override(tmp_path, files, message):
    with pytest.raises(ServeError, match=message):
        lay_out(published(tmp_path / "model", files), tmp_path / "repository", "tiny", described(tmp_path))


def test_unwritable_repository_is_reported_in_one_line(tmp_path):
    (tmp_path / "repository").write_text("a file")
    model = published(tmp_path / "model", {"model.onnx": "graph"})
    with pytest.raises(ServeError, match="repository/tiny/1: cannot be laid out for Triton: Not a directory"):
        lay_out(model, tmp_path / "repository", "tiny", described(tmp_path))
    with pytest.raises(ServeError, match=r"config\.pbtxt: cannot be laid out for Triton: No such file"):
        lay_out(model, tmp_path / "other", "tiny", tmp_path / "missing" / "config.pbtxt")
