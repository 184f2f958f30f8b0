"""Items come in order, taken before they are asked for; errors and early ends reach both sides."""

import threading

import pytest

from peaframe.infer.ahead import ahead


def test_items_come_in_order_and_all_of_them():
    assert list(ahead(range(1000), depth=3)) == list(range(1000))
    assert list(ahead([])) == []


def test_the_next_items_are_taken_while_one_is_used():
    taken = [threading.Event() for _ in range(4)]

    def items():
        for event in taken:
            event.set()
            yield event

    stream = ahead(items(), depth=2)
    first = next(stream)
    assert first is taken[0]
    assert all(event.wait(timeout=30) for event in taken[1:3])
    assert len(list(stream)) == 3


def test_an_error_comes_in_its_place():
    def items():
        yield 1
        raise ValueError("damaged behind the first block")

    stream = ahead(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="damaged behind"):
        next(stream)


def test_who_stops_early_stops_the_thread_and_closes_the_source():
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    source = items()
    stream = ahead(source)
    next(stream)
    stream.close()
    source.close()
    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "peaframe-ahead"]
