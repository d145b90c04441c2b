"""A team's own `conf/config.yaml` that makes each command a sweep."""

from framework.core.paths import SHARE


def test_config_of_the_working_folder_may_make_each_command_a_sweep(run, tmp_path):
    text = (SHARE / "conf" / "config.yaml").read_text(encoding="utf-8")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text(text.replace("hydra:\n", "hydra:\n  mode: MULTIRUN\n"))
    done = run(tmp_path, "+recipe=tiny", "seed=-1,-2")
    assert done.returncode == 2
    assert [line for line in done.stdout.splitlines() if line.startswith("==")] == [
        "== recipe=tiny seed=-1 ==",
        "== recipe=tiny seed=-2 ==",
    ]
    assert "seed=-2" in done.stderr
