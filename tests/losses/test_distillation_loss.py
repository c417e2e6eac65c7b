# SPDX-License-Identifier: Apache-2.0
"""Self-distillation: slow loops, closed forms, roles, centres, collapse figures, precision, errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from monai_unimedi.losses import SelfDistillationLoss

ROLES = ("student_class", "teacher_class", "student_patches", "teacher_patches")


def logits(rows: int, tokens: int, prototypes: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = 2 * [(rows, prototypes)] + 2 * [(rows, tokens, prototypes)]
    return {
        role: torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for role, shape in zip(ROLES, shapes)
    }


def make(prototypes: int, **options: Any) -> SelfDistillationLoss:
    return SelfDistillationLoss(prototypes, **options).double()


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def slow_cross_entropy(student: Tensor, teacher: Tensor, centre: Tensor, t_s: float, t_t: float) -> float:
    """One token: (K,), (K,), (K,)."""
    target = softmax([(z - c) / t_t for z, c in zip(teacher.tolist(), centre.tolist())])
    found = softmax([z / t_s for z in student.tolist()])
    return -sum(p * math.log(q) for p, q in zip(target, found))


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize("prototypes", [2, 9])
@pytest.mark.parametrize("temperatures", [(0.1, 0.04), (0.5, 1.0)])
def test_equals_slow_loops_for_three_steps(
    rows: int, tokens: int, prototypes: int, temperatures: tuple[float, float]
) -> None:
    loss = make(prototypes, student_temperature=temperatures[0], teacher_temperature=temperatures[1])
    centre_class, centre_patches = torch.zeros(2, prototypes, dtype=torch.float64)
    for step in range(3):
        given = {role: value.detach() * 0.2 for role, value in logits(rows, tokens, prototypes, step).items()}
        student, teacher, student_patches, teacher_patches = (given[role] for role in ROLES)
        terms = loss(source="3d", **given)
        icl = [slow_cross_entropy(student[i], teacher[i], centre_class, *temperatures) for i in range(rows)]
        pcl = [
            slow_cross_entropy(student_patches[i, j], teacher_patches[i, j], centre_patches, *temperatures)
            for i in range(rows)
            for j in range(tokens)
        ]
        assert terms["loss_icl"].item() == pytest.approx(sum(icl) / len(icl), abs=1e-9)
        assert terms["loss_pcl"].item() == pytest.approx(sum(pcl) / len(pcl), abs=1e-9)
        centre_class = 0.9 * centre_class + 0.1 * teacher.mean(0)
        centre_patches = 0.9 * centre_patches + 0.1 * teacher_patches.mean((0, 1))
    assert torch.allclose(loss.get_buffer("centre_3d_class"), centre_class)
    assert torch.allclose(loss.get_buffer("centre_3d_patches"), centre_patches)
    assert not loss.get_buffer("centre_2d_class").any()


def test_mask_selects_tokens_and_gives_each_row_the_same_say() -> None:
    loss, given = make(6).eval(), logits(2, 5, 6)
    is_masked = torch.tensor([[True, False, False, True, True], [False, True, False, False, False]])
    found = loss(source="2d", **given, is_masked=is_masked)["loss_pcl"]
    by_row = []
    for row in range(2):
        kept = {role: value[row : row + 1] for role, value in given.items()}
        for role in ROLES[2:]:
            kept[role] = kept[role][:, is_masked[row]]
        by_row.append(loss(source="2d", **kept)["loss_pcl"])
    assert found.item() == pytest.approx((by_row[0] + by_row[1]).item() / 2, abs=1e-12)
    gradient = torch.autograd.grad(found, given["student_patches"])[0]
    assert torch.equal(gradient.abs().sum(-1) > 0, is_masked)


def test_centre_follows_masked_tokens_alone() -> None:
    loss, given = make(6), logits(2, 5, 6)
    is_masked = torch.tensor([[True, False, False, True, True], [False, True, False, False, False]])
    loss(source="2d", **given, is_masked=is_masked)
    expected = 0.1 * given["teacher_patches"][is_masked].mean(0)
    assert torch.allclose(loss.get_buffer("centre_2d_patches"), expected)


def test_all_masked_equals_no_mask() -> None:
    given = logits(3, 4, 5)
    plain = make(5)(source="2d", **given)
    masked = make(5)(source="2d", **given, is_masked=torch.ones(3, 4, dtype=torch.bool))
    for name in plain:
        assert plain[name].item() == pytest.approx(masked[name].item(), abs=1e-12), name


@pytest.mark.parametrize("prototypes", [2, 64])
@pytest.mark.parametrize("centring", ["centre", "sinkhorn"])
def test_uniform_teacher_and_student_give_log_k(prototypes: int, centring: str) -> None:
    given = {role: torch.zeros_like(value) for role, value in logits(3, 4, prototypes).items()}
    terms = make(prototypes, centring=centring)(source="2d", **given)
    assert terms["loss_icl"].item() == pytest.approx(math.log(prototypes), abs=1e-6)
    assert terms["loss_pcl"].item() == pytest.approx(math.log(prototypes), abs=1e-6)
    for kind in ("class", "patches"):
        assert terms[f"teacher_entropy_{kind}"].item() == pytest.approx(1, abs=1e-6)
        assert terms[f"teacher_mean_entropy_{kind}"].item() == pytest.approx(1, abs=1e-6)


def test_uniform_teacher_gives_at_least_log_k_to_any_student() -> None:
    given = logits(3, 4, 8)
    given["teacher_class"] = torch.zeros_like(given["teacher_class"])
    assert make(8)(source="2d", **given)["loss_icl"].item() > math.log(8)


def test_equal_temperatures_and_logits_give_the_teachers_entropy() -> None:
    given = logits(3, 4, 8)
    given["teacher_class"] = given["student_class"]
    loss = make(8, student_temperature=0.5, teacher_temperature=0.5)
    terms = loss(source="2d", **given)
    assert terms["loss_icl"].item() == pytest.approx(
        terms["teacher_entropy_class"].item() * math.log(8), abs=1e-9
    )


def test_roles_are_not_interchangeable() -> None:
    given = logits(3, 4, 8)
    swapped = {role: given[other] for role, other in zip(ROLES, (ROLES[1], ROLES[0], ROLES[3], ROLES[2]))}
    terms, other = make(8)(source="2d", **given), make(8)(source="2d", **swapped)
    for name in ("loss_icl", "loss_pcl"):
        assert abs(terms[name].item() - other[name].item()) > 1e-2
    with pytest.raises(TypeError):
        make(8)("2d", *given.values())


def test_gradient_reaches_the_student_and_not_the_teacher() -> None:
    given = logits(3, 4, 8)
    terms = make(8)(source="2d", **given)
    (terms["loss_icl"] + terms["loss_pcl"]).backward()
    assert given["student_class"].grad is not None
    assert given["student_class"].grad.abs().sum() > 0
    assert given["student_patches"].grad is not None
    assert given["student_patches"].grad.abs().sum() > 0
    assert given["teacher_class"].grad is None
    assert given["teacher_patches"].grad is None
    assert not any(terms[name].requires_grad for name in terms if "entropy" in name)


def test_gradient_equals_finite_differences() -> None:
    given = logits(2, 3, 4)
    loss = make(4, student_temperature=0.7).eval()

    def total(student_class: Tensor, student_patches: Tensor) -> Tensor:
        changed = {**given, "student_class": student_class, "student_patches": student_patches}
        terms = loss(source="2d", **changed)
        return terms["loss_icl"] + 2 * terms["loss_pcl"]

    assert torch.autograd.gradcheck(total, (given["student_class"], given["student_patches"]))


def test_centre_moves_after_its_use_and_only_in_training() -> None:
    given = logits(3, 4, 8)
    loss = make(8)
    first = loss.eval()(source="2d", **given)["loss_icl"]
    assert not any(buffer.any() for name, buffer in loss.named_buffers() if name.startswith("centre"))
    assert torch.equal(loss.train()(source="2d", **given)["loss_icl"], first)
    assert not torch.equal(loss(source="2d", **given)["loss_icl"], first)


def test_a_teachers_constant_preference_is_centred_away() -> None:
    given = logits(3, 4, 8)
    plain = make(8).eval()(source="2d", **given)["loss_icl"]
    loss = make(8).eval()
    preference = torch.arange(8.0, dtype=torch.float64)
    loss.get_buffer("centre_2d_class").copy_(preference)
    given["teacher_class"] = given["teacher_class"] + preference
    assert loss(source="2d", **given)["loss_icl"].item() == pytest.approx(plain.item(), abs=1e-9)


def test_collapse_shows_in_the_mean_distribution_within_ten_steps() -> None:
    given = logits(4, 3, 64)
    given["teacher_class"] = torch.zeros(4, 64, dtype=torch.float64)
    given["teacher_class"][:, 5] = 100.0
    loss = make(64, centring="centre")
    found = []
    for _ in range(10):
        loss.get_buffer("centre_2d_class").zero_()  # what a centre too slow for the collapse looks like
        found.append(loss(source="2d", **given)["teacher_mean_entropy_class"].item())
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.5 > found[-1]


def test_small_confident_batches_are_no_collapse() -> None:
    """Four sharp rows a batch have a mean of entropy log 4; drawn evenly, they are not a collapse."""
    loss, generator = make(64), torch.Generator().manual_seed(0)
    for _ in range(100):
        given = logits(4, 3, 64)
        prototype = torch.randint(64, (4,), generator=generator)
        given["teacher_class"] = 100.0 * torch.eye(64, dtype=torch.float64)[prototype]
        loss.get_buffer("centre_2d_class").zero_()
        terms = loss(source="2d", **given)
        assert terms["teacher_mean_entropy_class"] > 0.6
    assert terms["teacher_entropy_class"] < 1e-6


@pytest.mark.parametrize("rows", [2, 16])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_confident_rows_that_are_all_different_have_the_largest_entropy_however_few(rows: int, momentum: float) -> None:
    """Over log K two rows of 4096 prototypes would have 0.47 at most, as if they had collapsed."""
    loss, dtype = make(4096, centre_momentum=momentum), torch.float64
    for step in range(100):  # the uniform start is forgotten
        given = logits(rows, 2, 4096)
        prototype = (rows * step + torch.arange(rows)) % 4096
        given["teacher_class"] = 100.0 * torch.eye(4096, dtype=dtype)[prototype]
        loss.get_buffer("centre_2d_class").zero_()
        terms = loss(source="2d", **given)
    assert terms["teacher_mean_entropy_class"].item() == pytest.approx(1, abs=1e-3)
    expected = math.log(rows) + (3.2508 if momentum else 0)
    entropy = torch.special.entr(loss.get_buffer("distribution_2d_class")).sum().item()
    assert entropy == pytest.approx(expected, abs=1e-3)


def test_sinkhorn_equals_slow_iterations() -> None:
    given = logits(5, 2, 4)
    loss = make(4, centring="sinkhorn", student_temperature=0.3, teacher_temperature=0.2)
    scores = [[math.exp(z / 0.2) for z in row] for row in given["teacher_class"].tolist()]
    for _ in range(3):
        columns = [sum(row[k] for row in scores) for k in range(4)]
        scores = [[value / total for value, total in zip(row, columns)] for row in scores]
        scores = [[value / sum(row) for value in row] for row in scores]
    expected = 0.0
    for target, row in zip(scores, given["student_class"].tolist()):
        expected -= sum(p * math.log(q) for p, q in zip(target, softmax([z / 0.3 for z in row]))) / 5
    assert loss(source="2d", **given)["loss_icl"].item() == pytest.approx(expected, abs=1e-9)


def test_sinkhorn_uses_all_prototypes() -> None:
    given = logits(256, 2, 4)
    given["teacher_class"] = given["teacher_class"].detach() + torch.tensor([50.0, 0, 0, 0])
    loss = make(4, centring="sinkhorn", centre_momentum=0.0, teacher_temperature=1.0)
    assert loss(source="2d", **given)["teacher_mean_entropy_class"] > 0.99


@pytest.mark.parametrize("centring", ["centre", "sinkhorn"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_finite(dtype: torch.dtype, centring: str) -> None:
    drawn = logits(4, 6, 16)
    given = {role: (30 * value).detach().to(dtype).requires_grad_() for role, value in drawn.items()}
    with torch.autocast("cpu", torch.bfloat16):
        terms = SelfDistillationLoss(16, centring=centring)(source="2d", **given)
    assert all(term.dtype == torch.float32 and torch.isfinite(term) for term in terms.values())
    (terms["loss_icl"] + terms["loss_pcl"]).backward()
    assert given["student_patches"].grad is not None
    assert torch.isfinite(given["student_patches"].grad).all()


def test_state_holds_the_centres() -> None:
    given, loss, resumed = logits(3, 4, 8), make(8), make(8)
    loss(source="2d", **given)
    resumed.load_state_dict(loss.state_dict())
    again, expected = resumed(source="2d", **given), loss(source="2d", **given)
    assert all(torch.equal(again[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"centring": "mean"}, "centring must be 'centre' or 'sinkhorn', got 'mean'"),
        ({"centre_momentum": 1.0}, r"centre_momentum must be in \[0, 1\), got 1.0"),
        ({"teacher_temperature": 0.0}, "temperatures must be > 0"),
        ({"num_prototypes": 1}, "num_prototypes must be 2 or more, got 1"),
    ],
)
def test_arguments_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SelfDistillationLoss(**{"num_prototypes": 8, **options})


def test_tensors_that_do_not_fit_are_refused() -> None:
    given, loss = logits(3, 4, 8), make(8)
    with pytest.raises(ValueError, match=r"source must be one of .* got '4d'"):
        loss(source="4d", **given)
    with pytest.raises(ValueError, match=r"teacher_patches must both be \(B, N, 8\)"):
        loss(source="2d", **{**given, "student_patches": given["student_patches"][:, :2]})
    with pytest.raises(ValueError, match=r"teacher_class must both be \(B, 8\), got \(3, 5\)"):
        loss(source="2d", **{**given, "student_class": torch.zeros(3, 5), "teacher_class": torch.zeros(3, 5)})
    with pytest.raises(ValueError, match="at least one token"):
        loss(source="2d", **{**given, **{role: given[role][:, :0] for role in ROLES[2:]}})
    with pytest.raises(ValueError, match="is_masked must be bool of shape"):
        loss(source="2d", **given, is_masked=torch.ones(3, 4))
    with pytest.raises(ValueError, match=r"hide at least one token of every row, got \[0, 0, 0\]"):
        loss(source="2d", **given, is_masked=torch.zeros(3, 4, dtype=torch.bool))
