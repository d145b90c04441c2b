import sys

import pytest

from framework.cli.complete import complete_verb, suggestions


@pytest.mark.parametrize(
    ("line", "included", "excluded"),
    [
        ("run ", ["plan", "tuning=", "tuning.", "seed=", "recipe=", "gates."], ["tuning.rank="]),
        ("run pl", ["plan", "plugins="], ["render", "publish."]),
        ("run promote ", ["release=", "to="], ["tuning=", "plan"]),
        ("run plan +recipe=ti", ["+recipe=tiny"], ["+recipe=quickstart"]),
        ("run recipe=tiny,qu", ["recipe=tiny,quickstart"], []),
        ("run tuning=", ["tuning=full", "tuning=lora"], ["tuning=tiny"]),
        ("run compression=[qat,int8", ["compression=[qat,int8-dynamic"], ["compression=qat"]),
        ("run +recipe=tiny tuning=lora tuning.", ["tuning.use_dora=", "tuning.rank="], ["tuning.patterns="]),
        ("run +recipe=tiny tuning=head tuning.", ["tuning.patterns=", "tuning.layers="], ["tuning.rank="]),
        ("run training.", ["training.neftune_alpha=", "training.validation."], ["training._target_="]),
        ("run training.validation.", ["training.validation.patience="], []),
        ("run training.schedule=", ["training.schedule=cosine", "training.schedule=wsd"], []),
        ("run training.compile=", ["training.compile=true", "training.compile=false"], []),
        (
            "run training.validation.keep=b",
            ["training.validation.keep=best"],
            ["training.validation.keep=last"],
        ),
        ("run compression=qat compression.", ["compression.qat."], []),
        ("run compression=qat compression.qat.training.", ["compression.qat.training.warmup_ratio="], []),
        ("run +recipe=nope tuning.", ["tuning.use_dora="], []),
        ("run launcher=jobset launcher.", ["launcher.dry_run=", "launcher.requests."], []),
        ("run +recipe=finance-three-phase phases.general.tuning.", ["phases.general.tuning.use_dora="], []),
        ("run data@phases.general.data=ti", ["data@phases.general.data=tiny"], []),
        ("run +tuning@phases.general.tuning=lo", ["+tuning@phases.general.tuning=lora"], []),
    ],
)
def test_word_is_completed(line, included, excluded, team):
    found = suggestions(line)
    assert [word for word in included if word not in found] == []
    assert [word for word in excluded if word in found] == []


@pytest.mark.parametrize("flag", ["--config-dir=more", "--config-dir more", "hydra.searchpath=[file://more]"])
def test_options_of_an_added_folder_are_offered(flag, team):
    team("more/tuning/mine.yaml", "rank: 3\n")
    assert "tuning=mine" in suggestions(f"run {flag} tuning=")
    assert "tuning=mine" not in suggestions("run tuning=")


@pytest.mark.parametrize(("shell", "separator"), [("bash", " "), ("zsh", " "), ("fish", "\n")])
def test_shell_gets_the_words_that_fit(shell, separator, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run", "-sc", f"query={shell}"])
    monkeypatch.setenv("COMP_LINE", "run re")
    with pytest.raises(SystemExit):
        complete_verb()
    assert {"render", "report", "recipe=", "reports="} == {*capsys.readouterr().out.strip().split(separator)}


def test_completion_is_not_taken_from_hydra_to_install_it(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["run", "-sc", "install=bash"])
    complete_verb()
    assert capsys.readouterr().out == ""
