"""The road of docs/tutorial.md on a few small images: search, profile, train, adapt, scale, export, predict."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapt_maker import write_table
from nas.cli import run
from nas.core.yamlio import dump_yaml

NET = {"name": "net", "resolution": 8, "stem": {"op": "conv", "width": 8}, "head": {"op": "classifier"},
       "stages": [{"op": "mbconv", "expand": 4, "width": 8, "stride": 2}]}  # fmt: skip
SPACE = {**NET, "name": "space", "stages": [{"op": "mbconv", "expand": {"one_of": [1, 2, 3]}, "kernel": {"one_of": [3, 5]},
                                             "width": {"one_of": [8, 16]}, "stride": 2}]}  # fmt: skip
DATA = ["dataset=npz", "dataset.path=images.npz"]
QUICK = ["recipe.epochs=1", "recipe.warmup_epochs=0", "recipe.batch=8"]
DEVICE = [
    "device.onnxruntime.networks=1",
    "device.onnxruntime.samples=2",
    "device.onnxruntime.seconds=0",
    "device.onnxruntime.rounds=1",
    "device.onnxruntime.repeats=2",
]


@pytest.mark.slow
def test_the_whole_road(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    np.savez("images.npz", x_train=rng.integers(0, 256, (40, 8, 8, 1), np.uint8), y_train=np.arange(40) % 2)
    Path("net.yaml").write_text(dump_yaml(NET))
    Path("space.yaml").write_text(dump_yaml(SPACE))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("x.png")
    write_table(Path("table.csv"))
    table = ["device=table", "device.table.path=table.csv"]  # how far a network shrinks must not depend on a clock
    learned = "device.onnxruntime.predictor=host/predictor-onnxruntime.json"
    search = ["search", "space=space.yaml", *DATA, *QUICK, "executor=local", "track=[]"]
    road = [
        [*search, *DEVICE, "trials=1", "run=found"],
        ["profile", "space=space.yaml", "device=onnxruntime", "resolution=8", "channels=1", "classes=2", "samples=6", "holdout=2", *DEVICE,
         "run=host"],
        [*search, *DEVICE, learned, "trials=1", "run=again"],
        ["train", "arch=net.yaml", *DATA, *QUICK, "run=net"],
        ["adapt", "weights=net/weights.npz", *DATA, *QUICK, *table, "executor=local", "target=0.95", "adapt.step=0.05",
         "adapt.kinds=[expansion]", "adapt.final_epochs=1", "run=small"],
        ["scale", "arch=net.yaml", "phi=[1]", "train=true", *DATA, *QUICK, *DEVICE, "device=[onnxruntime]", "executor=local", "run=large"],
        ["report", "run=found", "scaled=[large]"],
        ["export", "weights=small/weights.npz", "formats=[source,stablehlo]"],
        ["predict", "weights=small/bundle", "image=x.png"],
    ]  # fmt: skip
    for args in road:
        assert run(args) == 0, f"nas {' '.join(args)}: {capsys.readouterr().err}"
    assert "x.png" in capsys.readouterr().out
    result = json.loads(Path("small/result.json").read_text())
    assert result["final"]["predicted_ms"] <= result["target_ms"]
    assert all(ms > 0 for ms in result["measured_ms"])
    assert Path("large/net_phi1.yaml").exists()
    assert "net_phi1" in Path("found/report.html").read_text()
