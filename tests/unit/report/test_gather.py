import pytest

from framework.core.errors import ReleaseError

GATES = ("gates.exact_match.min=0.5", "gates.int4.exact_match.min=0.1")


def test_candidates_follow_the_plans_order(facts):
    result = facts("+recipe=tiny", quality={"tuned": 0.75})
    assert [(each.name, each.made_by) for each in result.candidates] == [
        ("base", "model"),
        ("tuned", "merge"),
        ("fp32", "export fp32"),
        ("int4", "compress int4"),
    ]
    tuned = result.candidates[1].metrics
    assert tuned["exact_match"] == 0.75
    assert tuned["decode_tokens_per_second"] == 10.0
    assert result.quality[0] == "exact_match"
    assert result.shipped == "int4"


def test_bounds_are_checked_against_measurements(facts):
    result = facts("+recipe=tiny", *GATES, quality={"tuned": 0.75, "int4": 0.4})
    judged = {verdict.metric: (verdict.gate, verdict.bound, verdict.value) for verdict in result.verdicts}
    assert judged["tuned.exact_match"] == ("gate quality", ">= 0.5", 0.75)
    assert judged["int4.exact_match"] == ("gate export", ">= 0.1", 0.4)
    assert {"fp32.max_difference", "fp32.agreement", "int4.agreement"} <= judged.keys()


def test_failed_gate_is_reported_without_the_later_steps(facts):
    behind = ("gate quality", "export fp32", "compress int4", "evaluate int4", "parity", "benchmark")
    result = facts("+recipe=tiny", quality={"tuned": 0.2}, without=(*behind, "gate export", "publish"))
    (verdict,) = (verdict for verdict in result.verdicts if not verdict.passed)
    assert (verdict.metric, verdict.value, verdict.passed) == ("tuned.exact_match", 0.2, False)
    assert result.release is None
    assert [each.name for each in result.candidates] == ["base", "tuned"]


def test_missing_build_is_one_line_with_its_command(facts):
    with pytest.raises(ReleaseError) as caught:
        facts("+recipe=tiny", without=("benchmark", "gate export", "publish"), quality={"tuned": 1.0})
    assert str(caught.value) == (
        "report: 'benchmark' and 2 more steps are not built yet; build first: run +recipe=tiny"
    )
    with pytest.raises(ReleaseError, match="report: 'publish' is not built yet"):
        facts("+recipe=tiny", "seed=1", without=("publish",), quality={"tuned": 1.0, "fp32": 1.0})
