import numpy as np
import pytest
import torch

from thalweg.sparse import (
    L1,
    PENALTIES,
    ElasticNet,
    Group,
    KSparse,
    NonNegativeElasticNet,
    NonNegativeL1,
    WeightedL1,
)

ATOMS = 4
WEIGHTS = torch.tensor([0.3, 0.8, 1.2, 0.5], dtype=torch.float64)
CASES = {
    "l1": lambda: L1(0.7),
    "weighted-l1": lambda: WeightedL1(WEIGHTS),
    "non-negative": lambda: NonNegativeL1(WEIGHTS),
    "elastic-net": lambda: ElasticNet(WEIGHTS, 0.6),
    "non-negative-elastic-net": lambda: NonNegativeElasticNet(WEIGHTS, 0.6),
    "group": lambda: Group(torch.tensor([0.7, 0.4], dtype=torch.float64), [0, 1, 0, 1]),
    "k-sparse": lambda: KSparse(2),
}
CONVEX = [name for name in CASES if name != "k-sparse"]


def test_every_member_of_the_table_is_tested():
    assert set(CASES) == set(PENALTIES.names())


@pytest.mark.parametrize("name", CASES)
def test_registry_name_is_the_penaltys_own(name):
    assert PENALTIES.load(name).name == name == CASES[name]().name


@pytest.mark.parametrize("name", [*CASES][:5])
@pytest.mark.parametrize("atom", range(ATOMS))
def test_prox_minimises_its_own_definition_on_a_fine_grid(name, atom):
    penalty, step = CASES[name](), 0.7
    v = torch.linspace(-3, 3, 41, dtype=torch.float64)
    grid = torch.linspace(-4, 4, 20_001, dtype=torch.float64)  # step 4e-4
    codes = torch.zeros(len(grid), ATOMS, dtype=torch.float64)
    codes[:, atom] = grid
    cost = penalty.value(codes) + (grid - v[:, None]).square() / (2 * step)
    point = torch.zeros(len(v), ATOMS, dtype=torch.float64)
    point[:, atom] = v
    found = penalty.prox(point, step)[:, atom]
    torch.testing.assert_close(found, grid[cost.argmin(1)], atol=4e-4, rtol=0)


def test_group_prox_minimises_its_own_definition_on_a_fine_grid():
    penalty, step = Group(0.7, [0, 0]), 0.6
    side = torch.linspace(-2, 2, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    for v in torch.tensor([[1.5, -1.0], [0.2, 0.3], [0.0, 1.1], [0.0, 0.0]], dtype=torch.float64):
        cost = penalty.value(grid) + (grid - v).square().sum(-1) / (2 * step)
        torch.testing.assert_close(penalty.prox(v, step), grid[cost.argmin()], atol=4e-3, rtol=0)


def test_k_sparse_prox_is_the_best_of_all_supports():
    penalty = KSparse(2)
    generator = torch.Generator().manual_seed(0)
    for v in torch.randn(20, ATOMS, generator=generator, dtype=torch.float64):
        supports = torch.combinations(torch.arange(ATOMS), 2)
        tries = torch.stack([torch.zeros_like(v).scatter(0, s, v[s]) for s in supports])
        best = tries[(tries - v).square().sum(-1).argmin()]
        assert torch.equal(penalty.prox(v, 1.0), best)


@pytest.mark.parametrize("name", CASES)
def test_batches_on_the_left_equal_one_by_one(name):
    penalty = CASES[name]()
    z = torch.randn(3, 5, ATOMS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z[0] = 0.0
    c = z.flip(0)
    for answer, one in (
        (penalty.value(z), penalty.value),
        (penalty.prox(z, 0.5), lambda row: penalty.prox(row, 0.5)),
    ):
        rows = torch.stack([one(row) for row in z.reshape(-1, ATOMS)])
        torch.testing.assert_close(answer.reshape(rows.shape), rows)
    pairs = zip(z.reshape(-1, ATOMS), c.reshape(-1, ATOMS), strict=True)
    rows = torch.stack([penalty.distance(a, b) for a, b in pairs])
    torch.testing.assert_close(penalty.distance(z, c).flatten(), rows)


@pytest.mark.parametrize("name", CONVEX)
def test_distance_is_zero_exactly_at_points_of_the_prox(name):
    # u = prox(v) means (v - u) / step is a subgradient at u
    penalty, step = CASES[name](), 0.4
    v = torch.randn(50, ATOMS, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    u = penalty.prox(v, step)
    assert penalty.distance(u, (v - u) / step).max() < 1e-12
    assert penalty.distance(u, (v - u) / step + 3.0).min() > 0.1


@pytest.mark.parametrize("name", CONVEX)
def test_largest_scale_is_where_the_polar_reaches_one(name):
    # s c is feasible iff <s c, z> <= Omega(z) for all z, Omega being the part without the square
    penalty = CASES[name]()
    generator = torch.Generator().manual_seed(3)
    c = torch.randn(ATOMS, generator=generator, dtype=torch.float64).abs()
    z = torch.randn(200_000, ATOMS, generator=generator, dtype=torch.float64).abs()
    z *= torch.rand(z.shape, generator=generator) < 0.5
    omega = penalty.value(z) - 0.5 * penalty.curvature * z.square().sum(-1)
    ratio = (z @ c)[omega > 0] / omega[omega > 0]
    scale = float(penalty.largest_scale(c))
    assert scale * float(ratio.max()) <= 1 + 1e-12
    assert scale * float(ratio.max()) > 0.99  # random z come this close to the bound


def test_pools_of_one_atom_are_the_l1_penalty():
    group, l1 = Group(WEIGHTS, [0, 1, 2, 3]), WeightedL1(WEIGHTS)
    z = torch.randn(9, ATOMS, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    torch.testing.assert_close(group.value(z), l1.value(z))
    torch.testing.assert_close(group.prox(z, 0.3), l1.prox(z, 0.3))
    torch.testing.assert_close(group.distance(z, 2 * z), l1.distance(z, 2 * z))


def test_pools_may_be_scattered_and_of_unequal_size():
    group = Group(1.0, [2, 0, 2, 1, 2])
    z = torch.tensor([3.0, 5.0, 4.0, -2.0, 12.0])
    assert float(group.value(z)) == pytest.approx(5.0 + 2.0 + 13.0)


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: L1(0.0), ValueError, "positive"),
        (lambda: L1(-1.0), ValueError, "positive"),
        (lambda: L1(float("nan")), ValueError, "positive"),
        (lambda: L1(float("inf")), ValueError, "finite"),
        (lambda: L1("a"), TypeError, "number"),
        (lambda: L1(True), TypeError, "number"),
        (lambda: L1(1j), TypeError, "number"),
        (lambda: L1(np.ones(3)), ValueError, "WeightedL1"),
        (lambda: WeightedL1(1.0), ValueError, "L1"),
        (lambda: WeightedL1(torch.tensor([1.0, -1.0])), ValueError, "positive"),
        (lambda: WeightedL1(torch.ones(2, 2)), ValueError, "per atom"),
        (lambda: ElasticNet(1.0, -1.0), ValueError, "l2"),
        (lambda: ElasticNet(1.0, "a"), TypeError, "l2"),
        (lambda: Group(1.0, [0, 2]), ValueError, "every number"),
        (lambda: Group(1.0, [0.0, 1.0]), ValueError, "integers"),
        (lambda: Group(torch.ones(3), [0, 1]), ValueError, "2 pools"),
        (lambda: KSparse(0), ValueError, "at least 1"),
        (lambda: KSparse(1.5), TypeError, "integer"),
        (lambda: KSparse(True), TypeError, "integer"),
    ],
)
def test_senseless_settings_are_one_clear_line(build, error, words):
    with pytest.raises(error, match=words) as caught:
        build()
    assert "\n" not in str(caught.value)
