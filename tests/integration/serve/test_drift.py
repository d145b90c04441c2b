"""The drift that a running server shows."""

import httpx
import pytest
from server_process import eventually, serving

from framework.core import metric_names as metrics

pytestmark = pytest.mark.slow


def test_the_gauges_follow_what_users_ask(tiny_bert, tmp_path):
    log = tmp_path / "log"
    task = "sequence-classification"
    usual = [f"a good film {number % 7}" for number in range(60)]

    def ask(served, texts):
        assert httpx.post(f"{served.url}/v1/classify", json={"input": texts}, timeout=30).status_code == 200

    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    options = {"drift": {"window": 60}, "request_log": {"folder": str(log)}, "max_batch_size": 8}
    with serving(tiny_bert, "onnxruntime", task, first, **options) as served:
        ask(served, usual)
        ask(served, usual)
        assert eventually(lambda: served.sample(metrics.DRIFT_UNSEEN) == 0)
        assert served.sample(metrics.DRIFT_PSI, 'feature="label"') < 0.05
        assert served.sample(metrics.DRIFT_PSI, 'feature="prompt_words"') < 0.05
    options["drift"]["reference"] = str(log)
    with serving(tiny_bert, "onnxruntime", task, second, **options) as served:
        ask(served, ["quite another word in each of these long texts"] * 60)
        assert eventually(lambda: served.sample(metrics.DRIFT_UNSEEN) > 0.9)
        assert served.sample(metrics.DRIFT_PSI, 'feature="prompt_words"') > 1
        assert served.sample(metrics.DRIFT_SIGMAS, 'feature="prompt_words"') > 2
