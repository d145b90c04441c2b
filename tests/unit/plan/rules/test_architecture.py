"""What a plan reports about a model whose config.json is on this machine."""

import json

import pytest

from framework.core.errors import PlanError
from framework.plan.build import make_plan
from framework.run.call import called
from framework.run.runner import show_plan

TIED = {"architectures": ["LlamaForCausalLM"], "tie_word_embeddings": True, "num_attention_heads": 2}
LOCAL = ("+recipe=tiny", "model=smollm2-135m", "model.source.url=model")


@pytest.fixture
def describe(tmp_path, monkeypatch):
    """Write the config.json of the model in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    return lambda config: (tmp_path / "model" / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("compression", ["none", "int4-weight"])
def test_unsupported_architecture_is_a_problem_of_the_export(describe, fixes, compression) -> None:
    describe({"architectures": ["GPT2LMHeadModel"], "n_head": 2})
    (problem,) = fixes(*LOCAL, "export=onnx-genai", f"compression={compression}")
    assert problem.key == "export"
    assert "GPT2LMHeadModel" in problem.reason


def test_tied_target_is_a_problem_of_the_tuning(describe, problems) -> None:
    describe(TIED)
    (problem,) = problems(*LOCAL, "tuning=lora", "tuning.target_modules=[q_proj,lm_head]")
    assert problem.key == "tuning.target_modules"
    assert problem.overrides == ("tuning.target_modules=[q_proj]", "tuning=head", "tuning=full")
    assert problems(*LOCAL, "tuning=lora", problem.overrides[0]) == ()


def test_model_that_is_not_here_is_not_judged(problems, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("GITUNE_CACHE", str(tmp_path))
    assert problems("+recipe=tiny", "model=smollm2-135m") == ()


def test_downloaded_model_is_judged(problems, monkeypatch, tmp_path) -> None:
    from framework.core import download

    monkeypatch.setenv("GITUNE_CACHE", str(tmp_path))
    url = "hf://HuggingFaceTB/SmolLM2-135M-Instruct@main"

    def get(url, into):
        (into / "config.json").write_text(json.dumps({"architectures": ["GPT2LMHeadModel"]}))
        return into

    download.cached(url, None, get)
    (problem,) = problems("+recipe=tiny", "model=smollm2-135m")
    assert problem.key == "export"


def test_stored_model_is_judged(compose, monkeypatch, tmp_path) -> None:
    """The artifact may be of a plan with another export, which does not enter its key."""
    monkeypatch.setenv("GITUNE_CACHE", str(tmp_path / "cache"))
    composition = compose("+recipe=tiny", "export=onnx-genai", f"store={tmp_path}")
    call = called(composition, "run")
    chosen = call.config
    folder = call.store.folder(make_plan(chosen, "tiny").step("model"))
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architectures": ["GPT2LMHeadModel"]}))
    with pytest.raises(PlanError) as caught:
        show_plan(call)
    assert [problem.key for problem in caught.value.problems] == ["export"]
