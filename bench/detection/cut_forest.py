"""A robust random cut forest over a stream (Guha, Mishra, Roy and Schrijvers, ICML 2016), seeded and small.

A tree cuts the box around its points at random, a dimension as likely as the box is wide in it, until each point is
alone. What a point's absence would change for the others most, over all groups that it is in, is its collusive
displacement: high for what is easily cut off. Points leave in the order in which they came.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

Point = NDArray[np.float64]


class _Node:
    """A leaf, or a cut between two branches; ``low`` and ``high`` are the corners of the box around its points."""

    __slots__ = ("cut", "dim", "high", "left", "low", "parent", "right", "size")

    def __init__(self, low: Point, high: Point, size: int) -> None:
        self.low, self.high, self.size = low, high, size
        self.dim, self.cut = 0, 0.0
        self.left: Any = None
        self.right: Any = None
        self.parent: Any = None


class CutTree:
    """One tree; `insert` gives the leaf that `forget` and `codisp` take."""

    def __init__(self, draw: Random) -> None:
        """Cuts come from ``draw``."""
        self._draw = draw
        self._root: Any = None

    def insert(self, point: Point) -> Any:
        """Add a point (algorithm 2 of the paper); a point that is there already counts once more."""
        node = self._root
        if node is None:
            self._root = leaf = _Node(point, point, 1)
            return leaf
        while True:
            low, high = np.minimum(node.low, point), np.maximum(node.high, point)
            lengths = high - low
            total = float(lengths.sum())
            if total == 0.0:
                self._grow(node, point, 1)
                return node
            if (leaf := self._cut_off(node, point, low, lengths, total)) is not None:
                return leaf
            node = node.left if point[node.dim] <= node.cut else node.right

    def _cut_off(self, node: Any, point: Point, low: Point, lengths: Point, total: float) -> Any:
        """A leaf for the point beside ``node``, where a random cut of both falls between them."""
        sums = np.cumsum(lengths)
        drawn = self._draw.random() * total
        dim = min(int(np.searchsorted(sums, drawn, side="right")), len(sums) - 1)
        cut = float(low[dim] + lengths[dim] - (sums[dim] - drawn))
        if not (node.high[dim] <= cut < point[dim] or point[dim] <= cut < node.low[dim]):
            if node.left is not None:
                return None
            # A leaf has no inside: any cut of its box with another point lies between them, but for rounding.
            dim, cut = int(lengths.argmax()), float(low[int(lengths.argmax())])
        leaf, parent, above = _Node(point, point, 1), _Node(node.low, node.high, node.size), node.parent
        parent.dim, parent.cut = dim, cut
        parent.left, parent.right = (leaf, node) if point[dim] <= cut else (node, leaf)
        leaf.parent = node.parent = parent
        parent.parent = above
        self._hang(above, node, parent)
        self._grow(parent, point, 1)
        return leaf

    def _hang(self, above: Any, old: Any, new: Any) -> None:
        if above is None:
            self._root = new
        elif above.left is old:
            above.left = new
        else:
            above.right = new

    @staticmethod
    def _grow(node: Any, point: Point, count: int) -> None:
        while node is not None:
            node.size += count
            node.low, node.high = np.minimum(node.low, point), np.maximum(node.high, point)
            node = node.parent

    def forget(self, leaf: Any) -> None:
        """Take one point of this leaf away."""
        if leaf.size == 1:
            self._prune(leaf)
            return
        while leaf is not None:
            leaf.size -= 1
            leaf = leaf.parent

    def _prune(self, leaf: Any) -> None:
        parent = leaf.parent
        if parent is None:
            self._root = None
            return
        beside, node = parent.right if parent.left is leaf else parent.left, parent.parent
        beside.parent = node
        self._hang(node, parent, beside)
        while node is not None:
            node.size -= 1
            node.low = np.minimum(node.left.low, node.right.low)
            node.high = np.maximum(node.left.high, node.right.high)
            node = node.parent

    @staticmethod
    def codisp(leaf: Any) -> float:
        """The collusive displacement of a leaf: over its groups the most others for each of its own."""
        most, node = 0.0, leaf
        while (parent := node.parent) is not None:
            most = max(most, (parent.size - node.size) / node.size)
            node = parent
        return most


class CutForest:
    """Trees over the last ``window`` points that were learned."""

    def __init__(self, trees: int = 20, window: int = 128, seed: int = 1) -> None:
        """The same seed cuts the same way."""
        draw = Random(seed)
        self._trees = [CutTree(draw) for _ in range(trees)]
        self._leaves: deque[list[Any]] = deque()
        self._window = window

    def score(self, values: Sequence[float]) -> float:
        """The mean collusive displacement of these values, which are not kept."""
        point, total = np.asarray(values, dtype=np.float64), 0.0
        for tree in self._trees:
            leaf = tree.insert(point)
            total += tree.codisp(leaf)
            tree.forget(leaf)
        return total / len(self._trees)

    def learn(self, values: Sequence[float]) -> None:
        """Keep these values, in place of the oldest where the window is full."""
        point = np.asarray(values, dtype=np.float64)
        if len(self._leaves) == self._window:
            for tree, leaf in zip(self._trees, self._leaves.popleft(), strict=True):
                tree.forget(leaf)
        self._leaves.append([tree.insert(point) for tree in self._trees])
