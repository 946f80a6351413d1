"""The pipe to another computer closes at any byte: one sentence, and nothing is left (``support/cut_stream.py``)."""

from cut_stream import cut_often


def test_a_pipe_that_closes_at_random_bytes_leaves_nothing():
    assert sum(cut_often(4, seed=23).values()) == 4
