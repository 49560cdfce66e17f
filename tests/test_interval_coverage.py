"""A small, seeded part of `python -m bench --only intervals`."""

import pytest

from bench.intervals import Cell, cells, cover, false_alarms

RUNS = 600
EVERY = cells(quick=False)


def cell(kind: str, n: int, place: int) -> Cell:
    """One of the cells of a kind, by its place."""
    return [each for each in EVERY if (each.kind, each.n) == (kind, n)][place]


@pytest.mark.parametrize(
    ("kind", "n", "place"),
    [
        ("rate", 100, 4),
        ("graded", 100, 3),
        ("graded", 100, 8),
        ("pairs", 100, 4),
        ("graded pairs", 100, 1),
        ("two samples", 100, 0),
        ("repeats", 100, 9),
        ("pairs with repeats", 100, 9),
        ("pairs with repeats", 30, 1),
        ("pairs with repeats", 30, 13),
        ("categories", 60, 4),
        ("any unsafe of k", 100, 5),
        ("consistency", 100, 5),
    ],
)
def test_an_interval_holds_the_truth_about_as_often_as_it_says(
    kind: str, n: int, place: int
) -> None:
    found = cover(cell(kind, n, place), RUNS, seed=1)
    assert found.realistic
    # Chance moves 600 runs by 1.8 points either way, two times in 20.
    assert 0.925 <= found.holds <= 0.98, found


def test_repeats_that_are_taken_for_independent_samples_are_found_out() -> None:
    found = cover(cell("repeats", 100, 22), RUNS, seed=1)
    assert found.cell.about[:3] == (0.3, 0.8, 5), "five samples of a prompt that mostly agree"
    assert found.instead < 0.8 < 0.925 <= found.holds


@pytest.mark.parametrize("times", [1, 4])
def test_a_paired_test_raises_about_as_many_false_alarms_as_it_says(times: int) -> None:
    assert 0.02 <= false_alarms(100, 0.8, 0.3, times, RUNS, seed=1) <= 0.075
