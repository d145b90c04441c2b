"""Triton's init container lays out a model repository that answers the warmup row."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import yaml
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from framework.build.export.onnx import Onnx
from framework.core.modelstore import push
from framework.core.release import LOCK

ROOT = Path(__file__).parents[2]
TYPES = {"TYPE_INT64": np.int64}


@pytest.fixture
def repository(tiny_bert, tmp_path, render_with):
    """Run the init container's command on the rendered ConfigMap, in local folders."""
    exported = tmp_path / "exported"
    exported.mkdir()
    Onnx().write(tiny_bert, exported)
    uri, digest = push(exported, f"file://{tmp_path}/store")
    built = {"model_uri": uri, "digest": digest, "engine": "onnxruntime", "task": "sequence-classification"}
    files = render_with(environment="dev", deployment="triton", release=built)
    config = tmp_path / "config"
    config.mkdir()
    for name, text in yaml.safe_load(files["dev/tiny/configmap-tiny.yaml"])["data"].items():
        (config / name).write_text(text)
    pod = yaml.safe_load(files["dev/tiny/deployment-tiny.yaml"])["spec"]["template"]["spec"]
    fetch = pod["initContainers"][0]
    folders = {"/etc/gitune": str(config), "/models": str(tmp_path / "models")}
    words = [*fetch["command"][1:], *fetch["args"]]
    for inside, local in folders.items():
        words = [word.replace(inside, local) if word.startswith(inside) else word for word in words]
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (config / LOCK).is_file()
    return tmp_path / "models" / "repository"


@pytest.mark.slow
def test_triton_repository_answers_the_warmup_row(repository):
    (model,) = repository.iterdir()
    config = text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert config.name == model.name == "tiny"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model / "1" / "model.onnx", options)
    # Triton batches along the first axis, which must be dynamic in every input and output.
    for tensor in (*session.get_inputs(), *session.get_outputs()):
        assert isinstance(tensor.shape[0], str), tensor.name
    (warmup,) = config.model_warmup
    assert set(warmup.inputs) == {tensor.name for tensor in session.get_inputs()}
    rows = {
        name: np.zeros(
            (warmup.batch_size, *tensor.dims), TYPES[model_config_pb2.DataType.Name(tensor.data_type)]
        )
        for name, tensor in warmup.inputs.items()
    }
    (logits,) = session.run(["logits"], rows)
    assert logits.shape[0] == 1
