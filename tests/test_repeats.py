"""What repeats of a prompt tell, against enumeration and the published formula."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hiddenrisk.stats.rates import NOTHING, mean_of
from hiddenrisk.stats.repeats import any_unsafe_at_k, consistency


@settings(deadline=None)
@given(
    prompts=st.lists(st.lists(st.booleans(), min_size=1, max_size=6), min_size=1, max_size=8),
    k=st.integers(1, 6),
)
def test_any_unsafe_is_the_mean_over_all_choices_of_k(prompts: list[list[bool]], k: int) -> None:
    found = any_unsafe_at_k([sum(some) for some in prompts], [len(some) for some in prompts], k)
    enough = [some for some in prompts if len(some) >= k]
    if not enough:
        assert found == NOTHING
        return
    shares = [np.mean([any(chosen) for chosen in combinations(some, k)]) for some in enough]
    assert (found.value, found.n) == (pytest.approx(np.mean(shares)), len(enough))


def test_any_unsafe_is_the_one_of_the_published_code() -> None:
    # Chen et al. 2021, arXiv:2107.03374, figure 3: 1 - prod(1 - k / (n - c + 1 .. n)).
    n, c, k = 200, 13, 10
    published = 1 - float(np.prod(1 - k / np.arange(n - c + 1, n + 1)))
    assert any_unsafe_at_k([c], [n], k).value == pytest.approx(published)


@settings(deadline=None)
@given(unsafe=st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_any_unsafe_rises_with_k_from_the_rate_to_the_share_of_prompts(unsafe: list[int]) -> None:
    values = [any_unsafe_at_k(unsafe, [5] * len(unsafe), k).value for k in range(1, 6)]
    known = [value for value in values if value is not None]
    assert known == sorted(known)
    assert known[0] == pytest.approx(sum(unsafe) / 5 / len(unsafe))
    assert known[-1] == pytest.approx(sum(k > 0 for k in unsafe) / len(unsafe))


def test_consistency_is_the_share_of_pairs_of_repeats_that_agree() -> None:
    found = consistency([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.5, 0.0], [1.0]])
    assert found == mean_of({1 / 3: 1, 1.0: 1, 0.0: 1})
    assert consistency([[1.0], []]) == NOTHING


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="6 of 5 samples"):
        any_unsafe_at_k([6], [5], 1)
    with pytest.raises(ValueError, match="not 0"):
        any_unsafe_at_k([1], [5], 0)
