from framework.report.settings import settings


def test_only_non_default_values_are_listed(config):
    summary = settings(config("+recipe=tiny", "tuning=lora", "tuning.rank=4", "tuning.alpha=8"))
    assert "rank 4" in summary["tuning"]
    assert summary["tuning"].startswith("LoRA: ")
    assert "dropout" not in summary["tuning"]
    assert "learning_rate 0.003" in summary["training"]
    assert summary["compression"] == "Int4Weight"
    assert "serving" not in summary


def test_each_phase_and_each_compression_is_named(config):
    summary = settings(config("+recipe=finance-three-phase"))
    assert {"general: data", "domain: tuning", "task: training"} <= summary.keys()
    assert "tuning" not in summary
