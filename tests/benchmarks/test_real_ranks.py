# SPDX-License-Identifier: Apache-2.0
"""Ranks and tests of the benchmark on real files: ties, equal texts, priors, and what is no signal."""

from __future__ import annotations

import numpy as np

from benchmarks.real.datalists import split_patients, without_diameter
from benchmarks.real.ranks import patient_means, permutation_test, rank_table, sign_flip_test


def test_equal_texts_are_one_text_and_ties_count_half() -> None:
    scores = np.array(
        [[0.9, 0.1, 0.5, 0.2], [0.0, 0.3, 0.3, 0.3], [0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 0.0, 1.0]]
    )
    table = rank_table(scores, ["a", "b", "a", "c"])
    np.testing.assert_allclose(table[0], [0.5 / 3, 1.0, 0.5 / 3, 2 / 3])
    np.testing.assert_allclose(table[1], [2.5 / 3, 0.5 / 3, 2.5 / 3, 0.5 / 3])


def test_a_ranking_that_is_the_same_for_all_images_has_one_half_exactly() -> None:
    texts = [*"aaaabbc", "d"]
    scores = np.tile(np.random.RandomState(0).rand(len(texts)), (len(texts), 1))
    assert np.isclose(np.diag(rank_table(scores, texts)).mean(), 0.5)


def test_permutation_finds_signal_and_no_signal() -> None:
    random = np.random.RandomState(1)
    patients = [f"p{i // 2}" for i in range(40)]
    texts = [str(i) for i in range(40)]
    noise = random.rand(40, 40)
    assert permutation_test([(rank_table(noise, texts), patients)], 500) > 0.05
    assert permutation_test([(rank_table(noise + 0.5 * np.eye(40), texts), patients)], 500) < 0.01


def test_sign_flips_find_a_mean_above_zero_only() -> None:
    values = np.random.RandomState(2).randn(50)
    assert sign_flip_test(list(values - values.mean()), 2000) > 0.3
    assert sign_flip_test(list(values - values.mean() + 1.0), 2000) < 0.01
    assert sign_flip_test(list(values - values.mean() - 1.0), 2000) > 0.99


def test_patients_count_alike() -> None:
    assert patient_means(np.array([0.0, 1.0, 0.4]), ["a", "a", "b"]) == {"a": 0.5, "b": 0.4}


def test_every_patient_is_unseen_in_exactly_one_split() -> None:
    rows = [{"patient": f"p{i % 17}"} for i in range(40)]
    splits = [split_patients(rows, fold) for fold in range(3)]
    assert all(sum(split[f"p{i}"] == "test" for split in splits) == 1 for i in range(17))
    assert all({"training", "validation", "test"} == set(split.values()) for split in splits)


def test_diameter_sentences_are_left_out() -> None:
    text = "Chest CT, a nodule, diameter 23 mm. Texture: solid. Margin: sharp."
    assert without_diameter(text) == "Texture: solid. Margin: sharp."
