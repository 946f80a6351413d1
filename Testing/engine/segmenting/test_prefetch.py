"""Work one item ahead: the same results in the same order, no more ahead than that, errors where they belong."""

import threading

import pytest
from sam2adapt.segmenting.prefetch import prefetch


def test_results_in_order():
    assert list(prefetch(lambda n: n * n, range(5))) == [0, 1, 4, 9, 16]
    assert list(prefetch(str, [])) == []


def test_one_item_ahead_and_no_more():
    begun, used = [], []
    for result in prefetch(lambda n: begun.append(n) or n, range(6)):
        used.append(result)
        assert len(begun) <= len(used) + 1
    assert begun == used == list(range(6))


def test_next_is_worked_on_while_the_last_is_used():
    started = [threading.Event() for _ in range(3)]
    results = prefetch(lambda n: started[n].set() or n, range(3))
    assert next(results) == 0
    assert started[1].wait(timeout=60)


def test_an_error_comes_where_its_result_is_due():
    def work(n: int) -> int:
        if n == 2:
            raise ValueError("two")
        return n

    results = prefetch(work, range(4))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_no_thread_is_left_when_the_user_stops():
    before = set(threading.enumerate())
    results = prefetch(str, range(1000))
    next(results)
    results.close()
    assert set(threading.enumerate()) == before
