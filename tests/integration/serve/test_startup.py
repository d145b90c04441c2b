"""How a server starts: it fetches and verifies its model, and reports errors in one line."""

import shutil
import socket

from server_process import run_to_end, write_release


def test_unservable_release_is_reported_in_one_line(tiny_genai, tmp_path) -> None:
    port = write_release(tiny_genai, "genai", "causal-lm", tmp_path)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        code, errors = run_to_end(tmp_path)
        assert (code, errors.count("\n")) == (1, 1)
        assert f"127.0.0.1:{port}: Address already in use" in errors
    broken = shutil.copytree(tiny_genai, tmp_path / "broken")
    (broken / "model.onnx").write_bytes(b"not a graph")
    write_release(broken, "genai", "causal-lm", tmp_path)
    code, errors = run_to_end(tmp_path)
    assert (code, errors.count("\n")) == (1, 1)
    assert "onnxruntime-genai" in errors


def test_fetch_only_fetches_and_verifies(tiny_genai, tmp_path) -> None:
    write_release(tiny_genai, "genai", "causal-lm", tmp_path)
    assert run_to_end(tmp_path, "--fetch-only") == (0, "")
    assert (tmp_path / "model" / "model.onnx").read_bytes() == (tiny_genai / "model.onnx").read_bytes()
    shutil.rmtree(tmp_path / "model")
    (published,) = (tmp_path / "store").iterdir()
    (published / "model.onnx").write_bytes(b"tampered")
    code, errors = run_to_end(tmp_path, "--fetch-only")
    assert (code, errors.count("\n")) == (1, 1)
    assert "model.onnx: altered" in errors
    assert not (tmp_path / "model").exists()


def test_check_only_verifies_without_fetching(tiny_genai, tmp_path) -> None:
    write_release(tiny_genai, "genai", "causal-lm", tmp_path)
    shutil.copytree(tiny_genai, tmp_path / "model")
    shutil.rmtree(tmp_path / "store")
    assert run_to_end(tmp_path, "--check-only") == (0, "")
    (tmp_path / "model" / "model.onnx").write_bytes(b"tampered")
    code, errors = run_to_end(tmp_path, "--check-only")
    assert (code, errors.count("\n")) == (1, 1)
    assert "sha256:" in errors
