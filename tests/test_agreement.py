"""Agreement of judges: worked examples, and the recorded judges of HarmBench by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from hiddenrisk.stats.agreement import (
    Confusion,
    cohen_kappa,
    confusion,
    fleiss_kappa,
    krippendorff_alpha,
    percent_agreement,
)
from hiddenrisk.stats.rates import NOTHING

# Counted apart from this code: true unsafe, false safe, false unsafe, true safe, against
# the majority of three humans; 195 of the 436 texts are unsafe for them.
BY_HAND = {
    "llama_guard": (71, 124, 12, 229),
    "gpt-4-1106-preview": (158, 37, 17, 224),
    "gpt-4-0613": (190, 5, 37, 204),
    "PAIR_gpt-4-0613": (164, 31, 23, 218),
    "advbench": (155, 40, 103, 138),
    "GPTFuzz": (121, 74, 40, 201),
    "mixtral": (148, 47, 20, 221),
    "gpt-3.5-turbo-0613": (63, 132, 8, 233),
    "cls": (190, 5, 38, 203),
    "cls_mistral": (190, 5, 39, 202),
    "chatglm": (120, 75, 71, 170),
}
GPT4 = Confusion(true_unsafe=190, false_safe=5, true_safe=204, false_unsafe=37)

# Fleiss 1971: ten subjects, fourteen raters, five categories; kappa is 0.210.
FLEISS = (
    (0, 0, 0, 0, 14),
    (0, 2, 6, 4, 2),
    (0, 0, 3, 5, 6),
    (0, 3, 9, 2, 0),
    (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0),
    (3, 2, 6, 3, 0),
    (2, 5, 3, 2, 2),
    (6, 5, 2, 1, 0),
    (0, 2, 2, 3, 7),
)

# Three coders, fifteen units, most with a label missing.
_ = None
CODERS = (
    (_, _, _, _, _, 3, 4, 1, 2, 1, 1, 3, 3, _, 3),
    (1, _, 2, 1, 3, 3, 4, 3, _, _, _, _, _, _, _),
    (_, _, 2, 1, 3, 4, 4, _, 2, 1, 1, 3, 3, _, 4),
)


def recorded(shared_data: Path) -> list[dict[str, Any]]:
    path = shared_data / "harmbench" / "text_behaviors_val_set.json"
    groups: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
    return [row for rows in groups.values() for row in rows]


def says_unsafe(word: object) -> bool:
    return word in {1, "yes", "Rating: [[10]]"}


@pytest.mark.parametrize("judge", BY_HAND)
def test_recorded_judges_agree_with_the_human_majority_as_counted_by_hand(
    judge: str, shared_data: Path
) -> None:
    table = confusion(
        (row["human_0"] + row["human_1"] + row["human_2"] >= 2, says_unsafe(row[judge]))
        for row in recorded(shared_data)
    )
    hit, missed, alarm, right = BY_HAND[judge]
    assert (table.true_unsafe, table.false_safe) == (hit, missed)
    assert (table.false_unsafe, table.true_safe) == (alarm, right)
    assert table.accuracy.value == (hit + right) / 436


def test_the_three_humans_of_harmbench_agree(shared_data: Path) -> None:
    texts = [[row[f"human_{i}"] for i in range(3)] for row in recorded(shared_data)]
    # The package krippendorff 0.9.0 gives 0.7352460344696103.
    assert krippendorff_alpha(texts) == pytest.approx(0.7352460344696103, abs=1e-12)
    # By hand: 351 of 436 texts have three equal labels, the others one pair of three.
    p = 564 / 1308
    chance = p**2 + (1 - p) ** 2
    agreed = (351 + 85 / 3) / 436
    assert fleiss_kappa(texts) == pytest.approx((agreed - chance) / (1 - chance), abs=1e-12)


def test_measures_of_both_classes_are_those_of_the_definitions() -> None:
    assert (GPT4.unsafe, GPT4.safe, GPT4.n) == (195, 241, 436)
    assert GPT4.sensitivity.value == 190 / 195
    assert GPT4.specificity.value == 204 / 241
    assert GPT4.of_unsafe.precision.value == 190 / 227
    assert GPT4.of_unsafe.recall == GPT4.sensitivity
    assert GPT4.of_safe.precision.value == 204 / 209
    assert GPT4.of_safe.recall == GPT4.specificity
    assert GPT4.of_unsafe.f1 == pytest.approx(2 / (227 / 190 + 195 / 190))


def test_a_class_that_nobody_names_has_no_measures() -> None:
    table = Confusion(true_unsafe=0, false_safe=0, true_safe=9, false_unsafe=0)
    assert table.of_unsafe.f1 is None
    assert table.sensitivity == table.of_unsafe.precision == NOTHING
    assert table.kappa == NOTHING


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 on"):
        Confusion(true_unsafe=1, false_safe=-1, true_safe=1, false_unsafe=1)


def test_cohens_kappa_is_that_of_statsmodels() -> None:
    # statsmodels 0.15.0, cohens_kappa: the value of the table, the error of the table + 0.5.
    found = GPT4.kappa
    assert found.value == pytest.approx(0.808174980620561)
    assert found.high == pytest.approx(0.808174980620561 + 1.959964 * 0.028012605288320006)
    rows = ((20, 5, 1), (3, 30, 4), (2, 6, 29))
    found = cohen_kappa({(str(i), str(j)): rows[i][j] for i in range(3) for j in range(3)})
    assert found.value == pytest.approx(0.6806083650190115)
    assert found.low == pytest.approx(0.6806083650190115 - 1.959964 * 0.0625720307471173)


def test_perfect_agreement_on_few_texts_is_not_certain() -> None:
    found = Confusion(true_unsafe=5, false_safe=0, true_safe=5, false_unsafe=0).kappa
    assert (found.value, found.high) == (1, 1)
    assert found.low is not None
    assert found.low < 0.8


def test_percent_agreement_counts_equal_labels() -> None:
    assert percent_agreement([("a", "a"), ("a", "b"), ("b", "b"), (None, None)]).value == 0.75
    assert percent_agreement([]) == NOTHING


def test_fleiss_kappa_is_that_of_the_paper() -> None:
    texts = [[c for c, k in enumerate(row) for _ in range(k)] for row in FLEISS]
    assert fleiss_kappa(texts) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_kappa_says_what_it_cannot_take() -> None:
    assert fleiss_kappa([]) is None
    assert fleiss_kappa([["a", "a"], ["a", "a"]]) is None
    with pytest.raises(ValueError, match="krippendorff_alpha"):
        fleiss_kappa([["a", "b"], ["a", "b", "b"]])


def test_krippendorffs_alpha_is_that_of_the_package_of_this_name() -> None:
    texts = list(zip(*CODERS, strict=True))
    # krippendorff 0.9.0; Krippendorff's own example rounds them to 0.691 and 0.811.
    assert krippendorff_alpha(texts) == pytest.approx(0.691358024691358)
    assert krippendorff_alpha(texts, "interval") == pytest.approx(0.8108448928121059)


def test_labels_that_cannot_be_compared_have_no_alpha() -> None:
    assert krippendorff_alpha([]) is None
    assert krippendorff_alpha([("a", None), (None, "b")]) is None
    assert krippendorff_alpha([("a", "a"), ("a", "a")]) is None
