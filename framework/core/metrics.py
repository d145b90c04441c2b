"""The names of what the server counts, which scrapes, alert rules and dashboards share.

Units stand in the names. It does not know who counts.
"""

REQUESTS = "gitune_requests_total"
"""Counter by ``route`` and HTTP status ``code``."""
REQUEST_SECONDS = "gitune_request_seconds"
"""Histogram by ``route``: from the request's arrival to its last byte."""
IN_FLIGHT = "gitune_requests_in_flight"
"""Gauge: requests that wait or are being answered now."""
FIRST_TOKEN_SECONDS = "gitune_first_token_seconds"
"""Histogram: from the request's arrival to the first text of its answer, waiting included."""
PROMPT_TOKENS = "gitune_prompt_tokens_total"
"""Counter: tokens read, chat template included."""
COMPLETION_TOKENS = "gitune_completion_tokens_total"
"""Counter: tokens generated."""
BATCH_ROWS = "gitune_batch_rows"
"""Histogram: texts that a classifier answered in one batch."""
READY = "gitune_ready"
"""Gauge: 1 once the engine has produced its first token, else 0."""
RELEASE_INFO = "gitune_release_info"
"""Gauge, always 1, with the labels ``release``, ``digest``, ``engine`` and ``base_model``."""
