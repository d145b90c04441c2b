from framework.serving.answers.memory_cache import OVERHEAD, MemoryCache


def test_least_recently_used_answers_are_dropped():
    cache = MemoryCache(3 * (OVERHEAD + 10), 60)
    for key in "abc":
        cache.put(key, b"0123456789")
    assert cache.get("a") == b"0123456789"
    cache.put("d", b"0123456789")
    assert [key for key in "abcd" if cache.get(key)] == ["a", "c", "d"]
    assert cache.size == 3 * (OVERHEAD + 10)


def test_answer_larger_than_the_cache_is_not_kept():
    cache = MemoryCache(OVERHEAD + 10, 60)
    cache.put("a", b"0123456789")
    cache.put("a", b"0123456789x")
    assert cache.get("a") is None
    assert cache.size == 0


def test_answers_are_kept_for_some_time():
    now = 0.0
    cache = MemoryCache(10_000, 60, lambda: now)
    cache.put("a", b"x")
    now = 59.9
    assert cache.get("a") == b"x"
    now = 60.0
    assert cache.get("a") is None
    assert cache.size == 0
