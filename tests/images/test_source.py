"""Samples of pictures as training changes them."""

import numpy as np

from statecast.images.source import Sample
from statecast.images.sources.tables import Boxes


def test_what_is_moved_keeps_its_size_and_repeats_its_edge():
    pixels = np.arange(12.0).reshape(1, 1, 3, 4)
    boxes = Boxes(np.array([[0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 2.0, 3.0]]), ("near", "far"))
    moved = Sample("picture", pixels, ("grey",), {}, pixels[0, 0], boxes).moved(1, -1)
    assert moved.pixels[0, 0].tolist() == [[4, 4, 5, 6], [8, 8, 9, 10], [8, 8, 9, 10]]
    assert moved.mask.tolist() == moved.pixels[0, 0].tolist()
    assert moved.boxes.classes == ("far",) and moved.boxes.edges.tolist() == [[2, 0, 3, 2]]
