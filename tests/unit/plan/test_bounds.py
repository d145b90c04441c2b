"""Which candidates a gate binds, and which gate judges it."""

import pytest

from framework.build.stages.evaluate import write_metrics
from framework.core.errors import GateError
from framework.core.step import Workspace
from framework.plan import rules
from framework.plan.bounds import Binding, bare_bindings


@pytest.fixture
def bounds(plan):
    """Return each gate's bounds as text: ``bounds("+recipe=tiny")["gate export"]``."""

    def call(*words):
        stages = {step.label: step.stage for step in plan(*words).steps if step.stage.name == "gate"}
        return {label: {name: str(b) for name, b in stage.bounds.items()} for label, stage in stages.items()}

    return call


def of(metric, named):
    return {name.partition(".")[0]: bound for name, bound in named.items() if name.endswith(f".{metric}")}


def test_bare_metric_binds_tuned_and_what_ships(bounds):
    made = bounds("+recipe=tiny", "gates.exact_match.min=0.95")
    assert of("exact_match", made["gate quality"]) == {"tuned": ">= 0.95"}
    assert of("exact_match", made["gate export"]) == {"int4": ">= 0.95"}
    plain = bounds("+recipe=tiny", "compression=none")
    assert of("exact_match", plain["gate export"]) == {"fp32": ">= 0.5"}


def test_failing_compression_of_a_passing_model_is_not_released(plan, tmp_path):
    gate = plan("+recipe=tiny", "gates.exact_match.min=0.95").step("gate export").stage
    measured, output = tmp_path / "measured", tmp_path / "output"
    measured.mkdir()
    output.mkdir()
    values = {name: bound.min or 0.0 for name, bound in gate.bounds.items()}
    write_metrics(measured, values | {"tuned.exact_match": 1.0, "int4.exact_match": 0.704})
    with pytest.raises(GateError, match=r"int4\.exact_match is 0\.704, the gate requires >= 0\.95"):
        gate.run({"measured": measured}, output, Workspace(tmp_path))
    write_metrics(measured, values | {"int4.exact_match": 0.95})
    gate.run({"measured": measured}, output, Workspace(tmp_path))


def test_bare_metric_binds_every_reshaped_and_reduced_candidate(bounds):
    words = ("+recipe=sentiment", "compression=[prune-structured,distill,int8-dynamic]")
    words += ("compression.prune-structured.training=null", "gates.accuracy.min=0.65")
    made = bounds(*words)
    assert of("accuracy", made["gate quality"]) == {"tuned": ">= 0.65"}
    assert of("accuracy", made["gate export"]) == dict.fromkeys(("pruned", "distilled", "int8"), ">= 0.65")


def test_named_candidate_is_bound_alone_and_replaces_the_bare_bound(bounds):
    alone = bounds("+recipe=tiny", "~gates.exact_match", "gates.tuned.exact_match.min=0.9")
    assert of("exact_match", alone["gate quality"]) == {"tuned": ">= 0.9"}
    assert of("exact_match", alone["gate export"]) == {}
    both = bounds("+recipe=tiny", "gates.exact_match.min=0.9", "gates.int4.exact_match.min=0.6")
    assert of("exact_match", both["gate quality"]) == {"tuned": ">= 0.9"}
    assert of("exact_match", both["gate export"]) == {"int4": ">= 0.6"}


def test_bare_metric_of_exports_loosens_no_bound_of_parity(bounds):
    made = bounds("+recipe=tiny", "gates.agreement.min=0.95", "gates.size_bytes.max=9e6")
    assert of("agreement", made["gate export"]) == {"fp32": ">= 0.99", "int4": ">= 0.95"}
    # The tuned model is timed after the quality gate, so the last gate judges its size.
    assert of("size_bytes", made["gate export"]) == dict.fromkeys(("tuned", "fp32", "int4"), "<= 9e+06")
    assert not of("size_bytes", made["gate quality"])


def test_plan_names_what_a_bare_metric_binds(config):
    chosen = config("+recipe=tiny", "gates.agreement.min=0.5", "gates.int4.agreement.min=0.6")
    exact, agreement = bare_bindings(chosen)
    assert exact == Binding("exact_match", chosen.gates["exact_match"], ("tuned", "int4"), (), ("fp32",))
    assert (agreement.candidates, agreement.replaced) == (("fp32",), ("int4",))
    assert agreement.unmeasured == ("tuned",)


def test_bare_metric_that_binds_nothing_is_refused(problems):
    words = ("+recipe=tiny", "export.parity.generations=0", "gates.generation_agreement.min=0.9")
    (problem,) = problems(*words)  # no generation is compared
    assert problem.key == "gates.generation_agreement"
    assert not problems("+recipe=tiny", "gates.generation_agreement.min=0.9")


@pytest.mark.parametrize(
    ("gate", "advice"),
    [
        ("exact_mach", "did you mean 'exact_match'?"),
        ("f1", "choose one of exact_match, stops, perplexity"),
        ("int8.exact_match", "choose one of base, tuned, fp32, int4"),
        ("tuned.agreement", "choose one of exact_match, stops, perplexity"),
    ],
)
def test_gate_of_the_environment_that_no_release_keeps_is_a_warning(gate, advice, config):
    warned = rules.cautions(config("+recipe=tiny", f"environment.gates.{gate}.min=0.5"))
    (problem,) = [problem for problem in warned if problem.key.startswith("environment.gates")]
    assert (problem.key, problem.advice) == (f"environment.gates.{gate}", advice)
    kept = rules.cautions(config("+recipe=tiny", "environment.gates.agreement.min=0.5"))
    assert not [problem for problem in kept if problem.key.startswith("environment.gates")]


def test_earlier_phases_are_not_bound_by_a_bare_metric(bounds):
    made = bounds("+recipe=finance-three-phase", "gates.int4.general_perplexity.max=70")
    assert made.keys() == {"gate quality", "gate export"}
    assert of("general_perplexity", made["gate quality"]) == {"tuned": "<= 60"}
    assert of("general_perplexity", made["gate export"]) == {"int4": "<= 70"}
    made = bounds("+recipe=finance-three-phase", "gates.general.exact_match.min=0.1")
    assert of("exact_match", made["gate general"]) == {"general": ">= 0.1"}
