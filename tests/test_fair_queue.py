"""The fair queue for the sandbox and the network."""

import threading
import time

import pytest

from ptx_app.fair_queue import FairQueue


def test_one_at_a_time_in_the_order_of_arrival():
    fair_queue, order, inside = FairQueue(), [], []

    def work(number: int) -> None:
        with fair_queue.turn():
            inside.append(number)
            assert len(inside) == 1
            time.sleep(0.01)
            order.append(number)
            inside.remove(number)

    threads = []
    with fair_queue.turn():
        for number in range(6):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            while len(fair_queue._queue) < number + 2:
                time.sleep(0.001)
    for thread in threads:
        thread.join(5)
    assert order == list(range(6))


def test_a_waiting_caller_learns_how_many_are_ahead():
    fair_queue, places = FairQueue(), []
    with fair_queue.turn():
        thread = threading.Thread(target=lambda: fair_queue.turn(places.append, every=0.01).__enter__())
        thread.start()
        while not places:
            time.sleep(0.001)
    thread.join(5)
    assert set(places) == {1}


def test_a_caller_that_stops_waiting_leaves_the_queue():
    fair_queue = FairQueue()

    def give_up(place: int) -> None:
        raise InterruptedError

    with fair_queue.turn(), pytest.raises(InterruptedError), fair_queue.turn(give_up):
        pass
    with fair_queue.turn(lambda place: pytest.fail("no one is ahead of us")):
        pass


def test_an_error_inside_lets_the_next_one_in():
    fair_queue = FairQueue()
    with pytest.raises(ValueError, match="broken"), fair_queue.turn():
        raise ValueError("broken")
    with fair_queue.turn(lambda place: pytest.fail("no one is ahead of us")):
        pass


def test_no_more_callers_enter_than_there_are_places():
    fair_queue, told, entered = FairQueue(places=2), [], threading.Event()

    def third() -> None:
        with fair_queue.turn(told.append, every=0.01):
            entered.set()

    with fair_queue.turn(lambda place: pytest.fail("a place is free")):
        with fair_queue.turn(lambda place: pytest.fail("a place is free")):
            thread = threading.Thread(target=third)
            thread.start()
            while not told:
                time.sleep(0.001)
            assert not entered.is_set()
        assert entered.wait(5)
    thread.join(5)
    assert set(told) == {1}
