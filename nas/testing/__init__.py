"""Conformance suites for the authors of plugins: plain functions that raise AssertionError naming the law that is broken.

    from nas.core.plugins import load_plugins
    from nas.testing import check_controller

    def test_my_controller():
        load_plugins(["my_controller"])
        check_controller({"name": "hill"})

The controllers, blocks, datasets, devices and evaluators that come with nas go through the same functions.
"""

from nas.testing.blocks import check_block
from nas.testing.controllers import check_controller
from nas.testing.datasets import check_dataset
from nas.testing.devices import check_device
from nas.testing.evaluators import check_evaluator
from nas.testing.exports import check_exports
from nas.testing.tasks import check_task

__all__ = ["check_block", "check_controller", "check_dataset", "check_device", "check_evaluator", "check_exports", "check_task"]
