"""Every network that Keras has too computes what Keras' model of the same name computes; `make parity` alone."""

from __future__ import annotations

import pytest

from keras_twins import TOLERANCE, TWINS, compare


@pytest.mark.parametrize("name", TWINS)
def test_every_network_equals_that_of_keras(name: str) -> None:
    assert compare(name) < TOLERANCE
