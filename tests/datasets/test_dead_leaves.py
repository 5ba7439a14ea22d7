"""Dead leaves against their exact two-point law, their scaling, and a generator written from the definition alone.

False alarms are those of tests/chance.py, for each test as a whole where it says so. Scores are per image, and images
are independent.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from chance import FALSE_ALARM, check_mean, check_same_mean
from quasistatic.datasets.dead_leaves import _radii, dead_leaves, same_leaf_probability
from quasistatic.errors import InputError


def same(x: np.ndarray, *offsets: tuple[int, int]) -> torch.Tensor:
    """Share of each image's pixels that equal the pixels at all offsets (down, right)."""
    height = x.shape[1] - max(down for down, _ in offsets)
    width = x.shape[2] - max(right for _, right in offsets)
    equal = [x[:, d : d + height, r : r + width] == x[:, :height, :width] for d, r in offsets]
    return torch.as_tensor(np.logical_and.reduce(equal).mean((1, 2)))


def from_the_definition(size: int, r_min: float, r_max: float, rng: np.random.Generator) -> np.ndarray:
    """One image: disc after disc from anywhere within r_max of the image, until no pixel is bare."""
    image = np.full((size, size), np.nan)
    y, x = np.mgrid[:size, :size]
    while np.isnan(image).any():
        r = math.sqrt(1.0 / (rng.random() * (r_min**-2 - r_max**-2) + r_max**-2))
        cy, cx = rng.uniform(-r_max, size - 1 + r_max, 2)
        image[((y - cy) ** 2 + (x - cx) ** 2 <= r * r) & np.isnan(image)] = rng.random()
    return image


@pytest.mark.parametrize(("reach", "r_min", "r_max"), [(15.0, 1.5, 128.0), (255.0, 1.5, 128.0), (1.0, 0.5, 3.0)])
def test_radii_have_the_density_of_discs_that_can_touch_the_image(reach, r_min, r_max):
    def mass(r):  # the integral of r^-3 (reach + 2 r)^2 from r_min, by Gauss-Legendre in log r
        node, weight = np.polynomial.legendre.leggauss(60)
        half = np.log(np.asarray(r)[..., None] / r_min) / 2.0
        x = r_min * np.exp(half * (1.0 + node))
        return (half * weight * x**-2 * (reach + 2.0 * x) ** 2).sum(-1)

    radii = _radii(100_000, reach, r_min, r_max, np.random.default_rng(0))
    assert stats.kstest(radii, lambda r: mass(r) / mass(r_max)).pvalue > FALSE_ALARM


@pytest.mark.parametrize(("size", "r_min", "r_max"), [(16, 1.5, 128.0), (16, 0.7, 20.0), (20, 4.0, 5.0), (20, 1.5, 8.0)])
def test_two_pixels_show_the_same_leaf_as_often_as_the_exact_law_says(size, r_min, r_max):
    # 8 numbers in one check
    offsets = [(0, 1), (1, 0), (0, 2), (3, 4), (4, 3), (0, 8), (8, 0), (0, 11)]
    x = dead_leaves(600, size, r_min, r_max, seed=1)
    found = torch.stack([same(x, offset) for offset in offsets], 1)
    check_mean(found, torch.as_tensor(same_leaf_probability([math.hypot(*offset) for offset in offsets], r_min, r_max)))


def test_the_law_depends_on_distance_over_radius_alone():
    # every second pixel of leaves twice as large; the triples are not in the two-point law
    triples = [((0, 1), (0, 2)), ((0, 3), (3, 0)), ((1, 1), (2, 2)), ((0, 5), (5, 5))]
    small = dead_leaves(800, 12, 1.0, 12.0, seed=2)
    large = dead_leaves(800, 23, 2.0, 24.0, seed=3)[:, ::2, ::2]
    scores = [torch.stack([same(x, *triple) for triple in triples], 1) for x in (small, large)]
    check_same_mean(*scores)


def test_leaving_out_discs_that_miss_the_image_does_not_change_its_law():
    rng = np.random.default_rng(4)
    plain = np.stack([from_the_definition(8, 1.5, 4.0, rng) for _ in range(300)])
    fast = dead_leaves(1500, 8, 1.5, 4.0, seed=5)
    triples = [((0, 1), (1, 0)), ((0, 2), (0, 4)), ((0, 3), (3, 3)), ((0, 7), (0, 3))]
    leaves, scores = [], []
    for x in (plain, fast):
        leaves.append(torch.tensor([float(len(np.unique(image))) for image in x]))
        scores.append(torch.stack([same(x, *triple) for triple in triples], 1))
    check_same_mean(*leaves)
    check_same_mean(*scores)
    # the second moments as well, through the number of leaves of each image
    check_same_mean(leaves[0].square(), leaves[1].square())


def test_corners_and_centre_have_one_law():
    # the image is a window into a field without end: a margin too small would empty the edges
    x = dead_leaves(1500, 9, 1.5, 30.0, seed=6)
    places = [(0, 0), (0, 7), (4, 4), (8, 7), (8, 0), (4, 0)]
    pairs = np.stack([x[:, i, j] == x[:, i, min(j + 1, 8)] for i, j in places], 1)
    check_mean(torch.as_tensor(pairs).double(), float(same_leaf_probability(1.0, 1.5, 30.0)), resolves=0.06)


def test_grey_values_are_uniform():
    values = dead_leaves(2000, 3, 1.5, 50.0, seed=7)[:, 1, 1]
    assert stats.kstest(values, "uniform").pvalue > FALSE_ALARM
    assert values.dtype == np.float32


def test_four_of_five_neighbours_are_identical_at_the_default():
    # measured once for this size: 0.83 of the horizontal neighbours of 256 x 256 images
    assert same_leaf_probability(1.0) == pytest.approx(0.8286, abs=1e-4)


@pytest.mark.parametrize("d", [0.3, 2.9, 3.1, 40.0, 200.0, 255.9])
def test_the_exact_law_agrees_with_an_integral_over_radii(d):
    r_min, r_max = 1.5, 128.0

    def lens(r):  # what two discs of radius r at distance d share
        return 2.0 * r**2 * math.acos(d / (2.0 * r)) - d / 2.0 * math.sqrt(4.0 * r**2 - d**2) if d < 2.0 * r else 0.0

    start = max(r_min, d / 2.0)
    shared = integrate.quad(lambda r: lens(r) / r**3, start, r_max, epsabs=1e-13, limit=400)[0]
    area = integrate.quad(lambda r: math.pi / r, r_min, r_max, epsabs=1e-13)[0]
    assert same_leaf_probability(d) == pytest.approx(shared / (2.0 * area - shared), abs=1e-7)


def test_the_exact_law_ends_at_the_largest_leaf():
    assert same_leaf_probability([0.0, 256.0, 1e6]).tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-12)
    many = same_leaf_probability(np.linspace(0.0, 256.0, 500))
    assert (np.diff(many) < 0).all()


def test_a_seed_fixes_the_images_whatever_their_number():
    few, many = dead_leaves(2, 16, seed=8), dead_leaves(5, 16, seed=8)
    assert np.array_equal(few, many[:2])
    assert len({image.tobytes() for image in many}) == 5
    assert not np.array_equal(few, dead_leaves(2, 16, seed=9))


def test_every_pixel_is_covered():
    for size, r_min, r_max in ((2, 0.5, 1.0), (40, 0.5, 0.6), (33, 100.0, 101.0)):
        x = dead_leaves(3, size, r_min, r_max, seed=10)
        assert (x >= 0).all()
        assert (x < 1).all()
        assert (size > 30 and r_min > 30) or len(np.unique(x)) > 3


def test_numbers_out_of_range_are_named():
    for settings, sentence in (
        ({"n": 0}, "n must be .*at least 1, got 0"),
        ({"n": 1, "size": 1.5}, r"size must be a whole number of at least 2, got 1\.5"),
        ({"n": 1, "r_min": 0.4}, r"0\.5 <= r_min < r_max, got r_min 0\.4 and r_max 128\.0"),
        ({"n": 1, "r_min": 3.0, "r_max": 3.0}, r"r_min < r_max, got r_min 3\.0 and r_max 3\.0"),
        ({"n": 1, "r_max": math.nan}, "r_max nan"),
        ({"n": 1, "r_max": math.inf}, "r_max inf"),
    ):
        with pytest.raises(InputError, match=sentence):
            dead_leaves(**settings)
    for distance in (-1.0, math.nan):
        with pytest.raises(InputError, match="distances must be finite and at least 0"):
            same_leaf_probability(distance)
