"""Series for which each alert fires, and others for which it stays silent."""

from dataclasses import dataclass

from framework.core import metric_names as metrics

POD = "tiny-7d9c5b8f4-x2x7k"
OWN = f'namespace="staging",release="tiny",pod="{POD}"'
OTHER = 'namespace="staging",pod="tiny-b-7d9c5b8f4-x2x7k"'
CONTAINER = f'namespace="staging",pod="{POD}",container="server"'
EXPIRY = "certmanager_certificate_expiration_timestamp_seconds"
WEEK = 7 * 24 * 12
"""Samples of a week, one every five minutes."""


@dataclass(frozen=True)
class Case:
    """Series for which an alert fires, and others for which it does not."""

    fires: list[dict[str, str]]
    silent: list[dict[str, str]]
    at: str = "30m"
    step: str = "1m"
    every: str = "1m"


def pods(value, name, labels=CONTAINER):
    return {f"{name}{{{labels}}}": value}


def memory(used, labels=CONTAINER):
    return {
        **pods(used, "container_memory_working_set_bytes", labels),
        **pods("100x60", "kube_pod_container_resource_limits", f'{labels},resource="memory"'),
    }


def cpu(used):
    limit = pods("2x60", "kube_pod_container_resource_limits", f'{CONTAINER},resource="cpu"')
    return {**pods(used, "container_cpu_usage_seconds_total"), **limit}


def requests(value, code="200", labels=OWN):
    return {f'{metrics.REQUESTS}{{{labels},code="{code}"}}': value}


def buckets(fast, all_, of=metrics.REQUEST_SECONDS, bound=10):
    name = f"{of}_bucket"
    return {
        f'{name}{{{OWN},le="{bound}"}}': fast,
        f'{name}{{{OWN},le="30"}}': all_,
        f'{name}{{{OWN},le="+Inf"}}': all_,
    }


def ended(**counts):
    """Counters of ended background jobs, by status."""
    return {f'{metrics.JOBS_ENDED}{{{OWN},status="{status}"}}': count for status, count in counts.items()}


def webhooks(**counts):
    """Counters of calls of webhooks, by outcome."""
    return {f'{metrics.WEBHOOK_CALLS}{{{OWN},outcome="{name}"}}': count for name, count in counts.items()}


def lengths(name, *means):
    """A histogram of one request per minute with each of *means* for six hours, the last for 20 minutes."""
    steps, total = [], 0.0
    for number, mean in enumerate(means):
        samples = 4 if number == len(means) - 1 else 72
        steps.append(f"{total + 5 * mean:g}+{5 * mean:g}x{samples - 1}")
        total += 5 * mean * samples
    return {f"{name}_sum{{{OWN}}}": " ".join(steps), f"{name}_count{{{OWN}}}": "5+5x400"}


def feedback(question, yes, no):
    """Counters of *yes* and *no* reports per five minutes, each as (all week, this hour)."""
    series = {}
    for answer, (week, now) in (("yes", yes), ("no", no)):
        key = f'{metrics.FEEDBACK}{{{OWN},question="{question}",answer="{answer}"}}'
        series[key] = f"0+{week}x{WEEK} {week * WEEK + now}+{now}x24"
    return series


def rating(week, now):
    def counter(before, after):
        return f"0+{before:g}x{WEEK} {before * WEEK + after:g}+{after:g}x24"

    name = metrics.RATING
    return {f"{name}_sum{{{OWN}}}": counter(20 * week, 20 * now), f"{name}_count{{{OWN}}}": counter(20, 20)}


def traffic(week, now):
    """Requests per second: *week* for a week and five hours, then *now*."""
    usual = WEEK + 60
    return requests(f"0+{300 * week:g}x{usual} {300 * (week * usual + now):g}+{300 * now:g}x24")


def length_case(name):
    return Case(
        fires=[lengths(name, 90, 110, 90, 110, 150), lengths(name, 90, 110, 90, 110, 60)],
        silent=[lengths(name, 90, 110, 90, 110, 112), lengths(name, 50, 50, 50, 50, 50.8)],
        at="1455m",
        step="5m",
        every="5m",
    )


WEEKLY = {"at": "170h", "step": "5m", "every": "15m"}
AFTER = {"at": "10410m", "step": "5m", "every": "15m"}
CASES = {
    "GituneMemoryHigh": Case(
        fires=[memory("90x60")],
        silent=[memory("80x60"), memory("50x20 90x4 50x20"), memory("95x60", f'{OTHER},container="server"')],
        at="25m",
    ),
    "GituneCpuHigh": Case(fires=[cpu("0+108x60")], silent=[cpu("0+90x60")]),
    "GituneGpuHigh": Case(
        fires=[
            pods("95x60", "DCGM_FI_DEV_GPU_UTIL", f'{CONTAINER},gpu="0"'),
            pods(
                "95x60",
                "DCGM_FI_DEV_GPU_UTIL",
                f'namespace="gpu",pod="dcgm-1",exported_namespace="staging",exported_pod="{POD}",gpu="0"',
            ),
        ],
        silent=[
            pods("80x60", "DCGM_FI_DEV_GPU_UTIL", f'{CONTAINER},gpu="0"'),
            pods("95x60", "DCGM_FI_DEV_GPU_UTIL", f'{OTHER},gpu="0"'),
        ],
    ),
    "GituneCertificateExpiring": Case(
        fires=[
            {f'{EXPIRY}{{namespace="gateway",name="web"}}': "864000x60"},
            {f'{EXPIRY}{{namespace="cert-manager",exported_namespace="staging",name="web"}}': "864000x60"},
        ],
        silent=[
            {f'{EXPIRY}{{namespace="staging",name="web"}}': "2592000x60"},
            {f'{EXPIRY}{{namespace="other",name="web"}}': "864000x60"},
        ],
    ),
    "GituneDown": Case(
        fires=[{}, {f"{metrics.READY}{{{OWN}}}": "0x60"}, {f"{metrics.READY}{{{OWN}}}": "1x10"}],
        silent=[
            {f"{metrics.READY}{{{OWN}}}": "1x60"},
            {f"{metrics.READY}{{{OWN}}}": "0x60", f'{metrics.READY}{{{OWN},instance="b"}}': "1x60"},
        ],
    ),
    "GituneLatencyHigh": Case(
        fires=[buckets("0+90x60", "0+100x60")], silent=[buckets("0+100x60", "0+100x60"), {}]
    ),
    "GituneFailures": Case(
        fires=[{**requests("0+90x60"), **requests("0+10x60", "500")}, requests("0+10x60", "503")],
        silent=[
            {**requests("0+99x60"), **requests("0+1x60", "500")},
            {**requests("0+90x60"), **requests("0+10x60", "404")},
            {**requests("0+90x60"), **requests("0+10x60", "503", f'{OWN},refused="shutting_down"')},
            {**requests("0+90x60"), **requests("0+10x60", "500", OWN.replace("tiny", "other"))},
        ],
    ),
    "GituneTimeouts": Case(
        fires=[{**requests("0+100x60"), f"{metrics.TIMEOUTS}{{{OWN}}}": "0+10x60"}],
        silent=[{**requests("0+100x60"), f"{metrics.TIMEOUTS}{{{OWN}}}": "0+1x60"}, requests("0+100x60")],
    ),
    "GituneQueueOld": Case(
        fires=[{f"{metrics.OLDEST_WAITING_SECONDS}{{{OWN}}}": "40x60"}],
        silent=[
            {f"{metrics.OLDEST_WAITING_SECONDS}{{{OWN}}}": "20x60"},
            {f"{metrics.OLDEST_WAITING_SECONDS}{{{OWN}}}": "0x28 40x1 0x30"},
        ],
    ),
    "GituneFirstTokenSlow": Case(
        fires=[buckets("0+90x60", "0+100x60", metrics.FIRST_TOKEN_SECONDS)],
        silent=[buckets("0+99x60", "0+100x60", metrics.FIRST_TOKEN_SECONDS), {}],
    ),
    "GituneQueueSlow": Case(
        fires=[buckets("0+90x60", "0+100x60", metrics.QUEUE_TIME_SECONDS, 5)],
        silent=[buckets("0+99x60", "0+100x60", metrics.QUEUE_TIME_SECONDS, 5), {}],
    ),
    "GituneKeysRefused": Case(
        fires=[{f"{metrics.KEYS_REFUSED}{{{OWN}}}": "0x20 1x40"}],
        silent=[{f"{metrics.KEYS_REFUSED}{{{OWN}}}": "1x20 0x40"}],
    ),
    "GituneJobsOld": Case(
        fires=[{f"{metrics.JOBS_OLDEST_SECONDS}{{{OWN}}}": "0+60x60"}],
        silent=[{f"{metrics.JOBS_OLDEST_SECONDS}{{{OWN}}}": "0+60x12 0x60"}],
    ),
    "GituneJobsFailing": Case(
        fires=[ended(completed="0+8x60", failed="0+2x60")],
        silent=[
            ended(completed="0+19x60", failed="0+1x60"),
            ended(cancelled="0+5x60", failed="0x60"),
            ended(completed="0x60", failed="0x60"),
        ],
    ),
    "GituneJobsLost": Case(
        fires=[{f"{metrics.JOBS_TAKEN_BACK}{{{OWN}}}": "0x25 4x40"}],
        silent=[{f"{metrics.JOBS_TAKEN_BACK}{{{OWN}}}": "0x25 1x40"}, {}],
    ),
    "GituneWebhooksFailing": Case(
        fires=[webhooks(failed="0+8x60", given_up="0+1x60", ok="0+1x60")],
        silent=[webhooks(failed="0+1x60", given_up="0x60", ok="0+9x60"), webhooks(failed="0x60", ok="0x60")],
    ),
    "GituneTrafficFall": Case(
        fires=[requests("0+600x24 14760+360x30"), requests("0+600x24 14400x30")],
        silent=[
            requests("0+600x24 14880+480x30"),
            requests("0+6x24 144x30"),
            requests("0+600x60"),
            # The same pod through two Services, one of which goes; and copies to a shadow that end.
            {
                **requests("0+600x60", labels=f'{OWN},service="tiny"'),
                **requests("0+600x24", labels=f'{OWN},service="tiny-canary"'),
                **requests("0+600x24 14400x30", labels=f'{OWN},service="tiny-shadow"'),
            },
        ],
    ),
    "GituneTrafficUnderBaseline": Case(
        fires=[traffic(10, 5)], silent=[traffic(10, 8), traffic(0.5, 0.1), traffic(10, 30)], **AFTER
    ),
    "GituneTrafficOffForecast": Case(
        fires=[traffic(10, 14), traffic(10, 6)], silent=[traffic(10, 10.5), traffic(0.5, 0.1)], **AFTER
    ),
    "GituneBadOutputs": Case(
        fires=[{f"{metrics.BAD_OUTPUTS_IN_A_ROW}{{{OWN}}}": "0+1x10"}],
        silent=[{f"{metrics.BAD_OUTPUTS_IN_A_ROW}{{{OWN}}}": "0+1x9 0x60"}],
        at="10m",
    ),
    "GituneDrift": Case(
        fires=[{f'{metrics.DRIFT_PSI}{{{OWN},feature="label"}}': "0.3x60"}],
        silent=[
            {f'{metrics.DRIFT_PSI}{{{OWN},feature="label"}}': "0.15x60"},
            {},
        ],
    ),
    "GituneVocabularyDrift": Case(
        fires=[{f"{metrics.DRIFT_UNSEEN}{{{OWN}}}": "0.3x60"}],
        silent=[
            {f"{metrics.DRIFT_UNSEEN}{{{OWN}}}": "0.1x60"},
        ],
    ),
    "GituneInputLengthDrift": length_case(metrics.REQUEST_PROMPT_TOKENS),
    "GituneOutputLengthDrift": length_case(metrics.REQUEST_COMPLETION_TOKENS),
    "GituneSuccessLow": Case(
        fires=[feedback("completed", (80, 80), (20, 20)), feedback("completed", (0, 0), (10, 10))],
        silent=[feedback("completed", (95, 95), (5, 5)), feedback("completed", (1, 1), (1, 1))],
        at="3h",
        step="5m",
        every="5m",
    ),
    "GituneBusinessUnderBaseline": Case(
        fires=[rating(4.5, 3.5), feedback("returned", (50, 40), (50, 60))],
        silent=[rating(4.5, 4.2), feedback("returned", (50, 46), (50, 54))],
        **WEEKLY,
    ),
    "GituneConversionDrift": Case(
        fires=[feedback("converted", (10, 13), (90, 87)), feedback("converted", (10, 7), (90, 93))],
        silent=[feedback("converted", (10, 11), (90, 89)), feedback("converted", (2, 1), (0, 1))],
        **WEEKLY,
    ),
}
