"""The laws of devices: records of measurements, fingerprints, and predictors that are plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping

from nas.arch.blocks import arch_id
from nas.latency import Predictor, load_predictor, make_device
from nas.latency.devices.base import Device
from nas.records import JSON
from nas.space import Space, load_space
from nas.testing.require import require


def check_device(settings: Mapping[str, JSON], space: Space | None = None) -> None:
    """Checks the laws of a device: it measures a network, describes itself, and fits a predictor.

    Args:
        settings: `name`, after the plugin that has it was loaded, and the device's settings.
        space: Whose first network is measured; None: `tiny` for 8x8 gray images and 10 classes.

    Raises:
        AssertionError: Naming the law that is broken and where.
        ValueError: For wrong settings; `DeviceError` where the network cannot be measured.

    Example:
        >>> from nas.testing import check_device
        >>> check_device({"name": "board"})  # doctest: +SKIP
    """
    space = space or load_space("tiny").fit(8, 1, 10)
    device = make_device(settings).bind(space)
    _check_attributes(device, make_device(settings).bind(space))
    _check_measurement(device, space, str(settings["name"]))
    _check_predictor(device.fit(space, 0), device, space)


def _check_attributes(device: Device, again: Device) -> None:
    print_ = device.fingerprint()
    require(len(print_) == 12, "fingerprint is 12 hex digits", repr(print_))
    require(print_ == again.fingerprint(), "equal settings have equal fingerprints")
    require(device.timeout_s > 0, "timeout_s is positive", f"{device.timeout_s}")
    info = device.info()
    require(json.loads(json.dumps(info)) == info, "info is plain data", f"{info}")
    require(device.predictor is None or isinstance(device.predictor, str), "predictor is a file or None")


def _check_measurement(device: Device, space: Space, name: str) -> None:
    arch = space.decode(space.canonical([0] * len(space.genes)))
    rows = device.measure(arch)
    require(len(rows) == 1, "measure gives one record for one architecture", f"got {len(rows)}")
    row = rows[0]
    found, expected = (row.arch_id, row.device, row.fingerprint), (arch_id(arch), name, device.fingerprint())
    require(
        found == expected,
        "a record names the architecture, the device and its fingerprint",
        f"expected {expected}, got {found}",
    )
    times = (row.latency_ms, row.median_ms, row.p95_ms)
    require(0 < times[0] <= times[1] <= times[2], "0 < latency_ms <= median_ms <= p95_ms", f"{times}")


def _check_predictor(predictor: Predictor, device: Device, space: Space) -> None:
    predictor.check(device.fingerprint(), space)
    genome = space.canonical([0] * len(space.genes))
    one, many = predictor.predict_arch(space.decode(genome)), predictor.predict_many(space, [list(genome)]).tolist()
    require(one > 0, "a prediction is positive", f"{one} ms")
    require(abs(many[0] - one) <= 1e-9 * one, "a genome has the prediction of its network", f"{many[0]} and {one} ms")
    read = load_predictor(json.loads(json.dumps(predictor.to_dict())), space)
    require(read.predict_arch(space.decode(genome)) == one, "a predictor that was written and read predicts the same")
    read.check(device.fingerprint(), space)
