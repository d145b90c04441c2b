"""Reports on a real run match the store and build nothing."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from framework.report.numbers import formatted

Run = Callable[..., "subprocess.CompletedProcess[str]"]
TINY = "+recipe=tiny"

pytestmark = pytest.mark.e2e


def lock(folder: Path) -> dict[str, dict[str, float]]:
    release: dict[str, dict[str, float]] = json.loads(
        (folder / "environments/dev/tiny/release.lock").read_text()
    )
    return release


def state(folder: Path) -> dict[str, int]:
    store = folder / ".gitune" / "store"
    return {str(path): path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}


def test_report_shows_measurements_and_builds_nothing(built_tiny: Path, run: Run, tmp_path: Path) -> None:
    before = state(built_tiny)
    done = run(built_tiny, "report", TINY, f"reports={tmp_path}")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{tmp_path}/tiny.html", f"{tmp_path}/tiny.md"]
    page, text = (tmp_path / "tiny.html").read_text(), (tmp_path / "tiny.md").read_text()
    metrics = lock(built_tiny)["metrics"]
    for name in ("tuned.exact_match", "int4.decode_tokens_per_second", "int4.size_bytes", "base.perplexity"):
        value = formatted(name.partition(".")[2], metrics[name])
        assert f">{value}</td>" in page, name
        assert value in text, name
    for metric in lock(built_tiny)["gates"]:
        assert re.search(rf">{re.escape(metric)}</th><td class=\"word passed\">passed", page), metric
    assert page.count("<svg") == 4
    assert "Is 3 even or odd?" in page
    assert str(lock(built_tiny)["digest"]) in page
    assert state(built_tiny) == before
    assert str(built_tiny) not in page
    assert not re.search(r"[\s\"']/(tmp|root|home|work)/", page)
    first = page, text
    assert run(built_tiny, "report", TINY, f"reports={tmp_path}").returncode == 0
    assert ((tmp_path / "tiny.html").read_text(), (tmp_path / "tiny.md").read_text()) == first


def test_summary_screen_suggests_the_report(built_tiny: Path, run: Run) -> None:
    assert "  run report +recipe=tiny\n" in run(built_tiny, TINY).stdout


def test_missing_build_is_one_line_and_writes_no_page(run: Run, tmp_path: Path) -> None:
    done = run(tmp_path, "report", TINY, "seed=7")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("report: ")
    assert done.stderr.endswith("run +recipe=tiny seed=7\n")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.rglob("*.html")) == []


def test_failed_gate_is_reported_with_its_value(built_tiny: Path, run: Run, tmp_path: Path) -> None:
    done = run(built_tiny, "report", TINY, "gates.exact_match.min=0.99", f"reports={tmp_path}")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "tiny.html").read_text()
    assert "gate quality" in page
    assert re.search(
        r">tuned\.exact_match</th><td class=\"word failed\">FAILED</td><td class=\"\">0\.\d+", page
    )


def test_several_configs_are_compared_on_one_page(built_tiny: Path, run: Run, tmp_path: Path) -> None:
    words = (TINY, "deployment.grace_seconds=10,20", f"reports={tmp_path}")
    done = run(built_tiny, "compare", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"{tmp_path}/compare-tiny.{ending}" for ending in ("html", "md")]
    page = (tmp_path / "compare-tiny.html").read_text()
    assert page.count("deployment.grace_seconds=10") >= 2
    assert page.count("deployment.grace_seconds=20") >= 2
    assert not list(built_tiny.rglob("multirun.yaml"))


def test_missing_builds_are_listed_with_their_commands(built_tiny: Path, run: Run, tmp_path: Path) -> None:
    done = run(built_tiny, "compare", TINY, "seed=0,3,4", f"reports={tmp_path}")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 2, done.stderr
    for seed, line in zip((3, 4), lines, strict=True):
        assert line.endswith(f"run +recipe=tiny seed={seed} reports={tmp_path}")
    assert list(tmp_path.iterdir()) == []


def test_report_loads_no_heavy_library() -> None:
    code = (
        "import sys, framework.run.runner\n"
        "from framework.report import gather, markdown, page\n"
        "print({'torch', 'numpy', 'transformers', 'matplotlib'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
