"""What stands beside our scores: a random cut forest of our own, the detectors' inputs, and what is not installed."""

from __future__ import annotations

import tomllib
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.detection import baselines
from bench.detection.baselines import action_values, block_values, detectors
from bench.detection.cut_forest import CutForest, CutTree
from bench.figures import ROOT
from stayhand.wire import pending_action

POINTS = st.lists(st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 1.0]) | st.floats(0, 1)] * 3), min_size=1, max_size=30)


def points_below(node) -> int:
    """Counts the tree's points, and looks at all that must hold of it on the way."""
    if node.left is None:
        assert (node.low == node.high).all()
        return node.size
    assert node.left.parent is node.right.parent is node
    assert node.left.high[node.dim] <= node.cut < node.right.low[node.dim]
    assert (node.low == np.minimum(node.left.low, node.right.low)).all()
    assert (node.high == np.maximum(node.left.high, node.right.high)).all()
    assert node.size == points_below(node.left) + points_below(node.right)
    return node.size


@given(POINTS, st.integers(0, 9), st.data())
def test_a_tree_parts_its_points_and_forgets_them_one_by_one(points, seed, data):
    tree, leaves = CutTree(Random(seed)), []
    for number, point in enumerate(points, 1):
        leaves.append(tree.insert(np.array(point)))
        assert points_below(tree._root) == number
    for left in range(len(leaves) - 1, -1, -1):
        leaf = leaves.pop(data.draw(st.integers(0, len(leaves) - 1)))
        tree.forget(leaf)
        assert (points_below(tree._root) if left else 0) == left
    assert tree._root is None


def test_what_lies_apart_is_displaced_most():
    draw, forest = Random(3), CutForest(window=64)
    for _ in range(200):
        forest.learn([draw.gauss(0.2, 0.02), draw.gauss(0.2, 0.02)])
    assert forest.score([0.9, 0.9]) > 5 * forest.score([0.2, 0.2])


def test_the_same_seed_says_the_same_and_scoring_leaves_nothing_behind():
    draw = Random(4)
    values = [[draw.random(), draw.random()] for _ in range(40)]
    one, other = CutForest(window=16), CutForest(window=16)
    for each in values:
        assert one.score(each) == other.score(each)
        one.learn(each)
        other.learn(each)
    assert {tree._root.size for tree in one._trees} == {16}


def test_blocks_and_actions_are_numbers_from_0_to_1():
    action = pending_action(
        {"subject": {"type": "token", "id": "ci"}, "action": {"name": "a"}, "resource": {"type": "t", "id": "r"}}
    )
    for values in (block_values(["ls", "cd", "ls"]), action_values(action, 1_700_000_000_000, 7_000)):
        assert all(0 <= value <= 1 for value in values)
    assert block_values(["ls", "cd"]) == block_values(["cd", "ls"])
    assert block_values(["ls", "cd"]) != block_values(["ls", "ls"])


def test_what_is_not_installed_is_none_and_the_rest_is_there(monkeypatch):
    def absent(name: str):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(baselines, "import_module", absent)
    found = detectors(32)
    assert found["half_space_trees"] is None
    assert found["rrcf"] is CutForest


def test_half_space_trees_find_what_lies_apart():
    pytest.importorskip("river", reason="the group bench is not installed")
    draw, trees = Random(6), baselines.HalfSpaceTrees(50)
    for _ in range(200):
        trees.learn([draw.uniform(0.1, 0.3), draw.uniform(0.1, 0.3)])
    assert trees.score([0.9, 0.9]) > trees.score([0.2, 0.2])


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    return dict(line.removesuffix(" \\").split("==") for line in lines if line[:1].isalpha())


def test_the_lock_of_the_group_bench_fits_the_one_that_it_is_installed_upon():
    beside, dev = pins("bench.lock"), pins("dev.lock")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {line.partition("==")[0] for line in project["dependency-groups"]["bench"]} <= set(beside)
    assert {name: dev[name] for name in beside if name in dev} == {name: beside[name] for name in beside if name in dev}
    assert "numpy" in beside
