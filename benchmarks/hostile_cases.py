"""Files that attack, each with the command that reads it. What would be executed leaves a file called RAN in the working folder.

`spoil` functions get the working folder, a copy of `usual`: a network with weights, a bundle, a run, data sets and records.
"""

from __future__ import annotations

import gzip
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from hostile_makers import (
    DEEP,
    HEAD,
    NAME,
    NET,
    PYTHON,
    SHELL,
    STAGE,
    TAG,
    Bomb,
    Case,
    arrays,
    bomb,
    both,
    changed,
    class_folder,
    idx,
    meta,
    npy,
    npz_of,
    parquet_pickle,
    png,
    safetensors,
    sql,
    unsigned,
    write,
)

COST, SPACE = ("cost", "arch=own.yaml"), ("scale", "arch=own.yaml", "run=f")
SEARCH = ("search", "space=own.yaml", "objective=macs", "device=[]", "recipe=quick", "trials=1", "executor=local", "run=s")
EXPORT = ("export", "weights=net/weights.npz", "dataset=npz", "dataset.path=data.npz", "formats=[source]", "out=b")
PREDICT, REPORT, STATUS = ("predict", "weights=bundle", "image=x.png"), ("report", "run=run"), ("status", "run=run")
TRAIN = ("train", "arch=net/arch.yaml", "recipe=quick", "recipe.epochs=1", "recipe.warmup_epochs=0", "executor=local", "run=t")


def data(*settings: str) -> tuple[str, ...]:
    return (*TRAIN, *settings)


def yaml_cases() -> list[Case]:
    texts: Mapping[str, str] = {
        "alias bomb": bomb(),
        "100 MB": HEAD + "stages: [" + ", ".join([STAGE] * 3_000_000) + "]\n",
        "a billion repeats": HEAD + "stages: [{op: conv, width: 8, repeat: 1000000000}]\n",
        "a billion layers in stages": HEAD + "stages: [" + ", ".join(["{op: conv, width: 8, repeat: 999}"] * 90) + "]\n",
        "nested 100,000 deep": f"stages: {DEEP}\n" + HEAD,
        "nested 100,000 deep, dashes": "stages:\n" + "- " * 100_000 + "\n" + HEAD,
        "nested 100,000 deep, keys": HEAD + "stages: " + "{a: " * 100_000 + "\n",
        "wrong types": HEAD + "stages: {op: 3}\n",
        "negative width": HEAD + "stages: [{op: conv, width: -8}]\n",
        "unknown op": HEAD + "stages: [{op: cnov, width: 8}]\n",
        "a number of a megabyte": HEAD + "stages: [{op: conv, width: " + "9" * 900_000 + "}]\n",
        "not text": "\x00\x01\x02",
        "a million primitives": HEAD + "stages: [{op: xception, width: 8, depth: 64, repeat: 1000}]\n",
        "empty": "",
        "a tag that calls": NET.replace("name: x", f"name: {TAG}"),
        "a tag that imports": NET.replace("name: x", "name: !!python/name:os.system"),
        "a list that holds itself": HEAD + "stages: &a [*a]\n",
        "a merge key that holds itself": "&a {<<: *a}\n",
        "code in the name of a block": HEAD + f"stages: [{{op: {NAME!r}, width: 8}}]\n",
        "code in the name of a setting": HEAD + f"stages: [{{op: conv, width: 8, {NAME!r}: 1}}]\n",
        "code as an activation": HEAD + f"stages: [{{op: conv, width: 8, act: {NAME!r}}}]\n",
        "infinite numbers": HEAD + "norm_eps: .inf\n" + f"stages: [{STAGE}]\n",
        "a date for a width": HEAD + "stages: [{op: conv, width: 2026-01-01}]\n",
    }  # fmt: skip
    named = json.dumps(NAME)
    return [
        *(Case("arch", name, write("own.yaml", text), COST) for name, text in texts.items()),
        Case("arch", "code in the name", write("own.yaml", NET.replace("name: x", f"name: {named}")), COST),
        Case("arch", "code in the name, with weights", lambda f: rename_net(f, NAME), EXPORT),
        Case("arch", "code in the name, block strings", write("own.yaml", f"name: {named}\nblocks: ds_r1_k3_s1_e1_c16_noskip\n"), COST),
        Case("arch", "a path for a name", write("own.yaml", NET.replace("name: x", "name: ../../x")), SPACE),
        Case("space", "code in the name", write("own.yaml", NET.replace("name: x", f"name: {named}")), SEARCH),
        Case("space", "a tag that calls", write("own.yaml", NET.replace("width: 8,", f"width: {TAG},")), SEARCH),
        Case("space", "a gene of a million options", write("own.yaml", HEAD + "stages: [{op: conv, width: {one_of: "
             f"[{', '.join(map(str, range(90_000)))}]}}}}]\n"), SEARCH),
        Case("space", "a choice within itself", write("own.yaml", HEAD + "stages: [{op: conv, width: &a {one_of: [8, *a]}}]\n"), SEARCH),
    ]  # fmt: skip


def rename_net(folder: Path, name: str) -> None:
    path = folder / "net" / "arch.yaml"
    path.write_text(re.sub("^name: .*$", lambda _: f"name: {json.dumps(name)}", path.read_text(), flags=re.M))


def weight_cases() -> list[Case]:
    objects = np.array([Bomb()], dtype=object)
    deep = "{'descr': " + "(" * 3000 + ", 'shape': (1,)}"
    headers = {
        "nested 100,000 deep": '{"a": ' + DEEP, "no mapping": "[1]", "a place before the file": '{"a": {"dtype": "F32", "shape": [1], '
        '"data_offsets": [-8, -4]}}', "code for a type": json.dumps({"a": {"dtype": NAME, "shape": [1], "data_offsets": [0, 4]}}),
        "a huge shape": '{"a": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4]}}',
    }  # fmt: skip
    return [
        Case("weights", "a pickled object", arrays("net/weights.npz", a=objects), EXPORT),
        Case("weights", "a pickle for an archive", write("net/weights.npz", pickle.dumps(Bomb())), EXPORT),
        Case("weights", "a header that is code", npz_of("net/weights.npz", "a.npy", npy(f"({PYTHON!r})")), EXPORT),
        Case("weights", "a header nested deep", npz_of("net/weights.npz", "a.npy", npy(deep)), EXPORT),
        Case("weights", "a terabyte by its header", npz_of("net/weights.npz", "params|a|b.npy", npy(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (300000000000,)}")), EXPORT),
        Case("weights", "a path out of the folder", npz_of("net/weights.npz", "../../RAN", b""), EXPORT),
        Case("weights", "1 GB of zeros in 1 MB", npz_of("net/weights.npz", "params|a|b.npy", npy(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (250000000,)}", bytes(10**9)), zipfile.ZIP_DEFLATED), EXPORT),
        Case("weights", "code as a Keras file", write("own.h5", PYTHON), (*EXPORT, "weights=keras:own.h5", "arch=net/arch.yaml")),
        Case("weights", "code as a file of PyTorch", npz_of("own.pth", "net/data.pkl", pickle.dumps(Bomb())),
             (*EXPORT, "weights=own.pth", "arch=net/arch.yaml")),
        *(Case("bundle", f"weights: {name}", both(unsigned, write("bundle/weights.safetensors", safetensors(text))), PREDICT)
          for name, text in headers.items()),
        Case("bundle", "code in the name", both(unsigned, lambda f: (f / "bundle/arch.yaml").write_text(
            re.sub("^name: .*$", lambda _: f"name: {json.dumps(NAME)}", (f / "bundle/arch.yaml").read_text(), flags=re.M))), PREDICT),
        Case("bundle", "an index nested deep", write("bundle/bundle.json", '{"version": ' + DEEP), PREDICT),
        Case("bundle", "an index of wrong types", changed("bundle/bundle.json", classes={"a": 1}, mean="x"), PREDICT),
        Case("bundle", "classes that are no text", both(unsigned, changed("bundle/bundle.json", classes=[[1], {}, None])), PREDICT),
        Case("bundle", "a mean that is no number", both(unsigned, changed("bundle/bundle.json", mean=[NAME])), PREDICT),
        Case("bundle", "a resolution of a billion", both(unsigned, changed("bundle/bundle.json", resolution=10**9)), PREDICT),
        Case("bundle", "digests of other files", changed("bundle/bundle.json", sha256={"../x.png": "0"}), PREDICT),
        Case("bundle", "source that runs", both(unsigned, write("bundle/model.py", PYTHON)), PREDICT, fine=True),
        Case("bundle", "an escape sequence for a class", both(unsigned, changed("bundle/bundle.json", classes=["\x1b]0;x\x07", "b", "c"])),
             PREDICT, fine=True),
        Case("training", "a record nested deep", write("net/result.json", DEEP), ("predict", "weights=net", "image=x.png")),
        Case("training", "a record of wrong types", write("net/result.json", '{"classes": 1, "mean": {}, "std": null}'),
             ("predict", "weights=net", "image=x.png")),
        Case("training", "a record that is a list", write("net/result.json", "[[1]]"), ("predict", "weights=net", "image=x.png")),
        Case("training", "a record for an export", write("net/result.json", DEEP), EXPORT),
        Case("training", "another's record in the folder", write("net/result.json", '{"recipe": 1}'), (*TRAIN, "run=net")),
    ]  # fmt: skip


def journal_cases() -> list[Case]:
    trigger = f"CREATE TRIGGER t AFTER INSERT ON meta BEGIN SELECT load_extension('x'), writefile('RAN', '{SHELL}'); END"
    values: Mapping[str, tuple[str, Any]] = {
        "settings that are a number": ("settings", 3), "objectives that are text": ("objectives", "x"),
        "objectives of wrong types": ("objectives", {"metrics": [["accuracy"]], "reward": 3}),
        "a reward that is code": ("objectives", {"metrics": [["accuracy", "max"]], "reward": NAME}),
        "a task that is a list": ("task", [1]), "versions that are text": ("versions", "x"), "a space that is text": ("space", "x"),
        "a command that is a list": ("command", [1]), "fidelities that are a number": ("fidelities", 3),
        "settings nested deep": ("settings", DEEP),
    }  # fmt: skip
    return [
        Case("journal", "no database", write("run/journal.sqlite", PYTHON), REPORT),
        Case("journal", "a trigger", sql(trigger), STATUS, fine=True),
        Case("journal", "a view for a table", sql("DROP TABLE event", "CREATE VIEW event AS SELECT 1"), REPORT),
        Case("journal", "tables left out", sql("DROP TABLE trial"), REPORT),
        Case("journal", "a path for an id", sql(
            "INSERT INTO meta SELECT 'arch/../../RAN', value FROM meta WHERE key LIKE 'arch/%' LIMIT 1",
            "UPDATE trial SET arch_id = '../../RAN'"), REPORT),
        Case("journal", "metrics that are a list", sql("UPDATE trial SET metrics = '[1]'"), REPORT),
        Case("journal", "metrics that are text", sql("""UPDATE trial SET metrics = '{"accuracy": "x"}'"""), REPORT),
        Case("journal", "metrics nested deep", sql(f"UPDATE trial SET metrics = '{DEEP}'"), REPORT),
        Case("journal", "a genome of text", sql("""UPDATE trial SET genome = '["x"]'"""), REPORT, fine=True),
        Case("journal", "an unknown outcome", sql("UPDATE trial SET outcome = '<script>'"), REPORT, fine=True),
        Case("journal", "an error with a page", sql("UPDATE trial SET error = '</script><script>x()</script>'"), REPORT, fine=True),
        Case("journal", "an architecture that is text", sql("""UPDATE meta SET value = '"x"' WHERE key LIKE 'arch/%'"""), REPORT),
        Case("journal", "code in the name of an architecture", sql(
            f"""UPDATE meta SET value = json_set(value, '$.name', '{NAME}') WHERE key LIKE 'arch/%'"""), REPORT, fine=True),
        Case("journal", "code in a network for a teacher", sql(
            f"""UPDATE meta SET value = json_set(value, '$.name', '{NAME}') WHERE key LIKE 'arch/%'"""),
            (*TRAIN, "dataset=npz", "dataset.path=data.npz", "teacher=run")),
        *(Case("journal", name, meta(key, value), REPORT, fine=name == "a reward that is code") for name, (key, value) in values.items()),
        *(Case("journal", f"{name}, in a comparison", meta(key, value), ("report", "runs=[run,run2]", "out=c.html"))
          for name, (key, value) in list(values.items())[:3]),
        Case("journal", "a lease that is text", meta("lease", "x"), STATUS),
    ]  # fmt: skip


def data_cases() -> list[Case]:
    folder, npz = ("dataset=folder", "dataset.path=images"), ("dataset=npz", "dataset.path=own.npz")
    fashion = ("dataset=fashion_mnist", "dataset.path=idx")
    images, labels = np.zeros((30, 8, 8, 1), np.uint8), np.arange(30) % 3
    bombed = np.array([Bomb()] * 30, dtype=object)
    return [
        Case("data", "npz: labels that are objects", arrays("own.npz", x_train=images, y_train=bombed), data(*npz)),
        Case("data", "npz: classes that are objects", arrays("own.npz", x_train=images, y_train=labels, classes=bombed), data(*npz)),
        Case("data", "npz: classes named like code", arrays("data.npz", x_train=images, y_train=labels, classes=[NAME, "b|c", "<b>"]),
             EXPORT, fine=True),
        Case("data", "npz: a pickle", write("own.npz", pickle.dumps(Bomb())), data(*npz)),
        Case("data", "idx: a petabyte by its header", write("idx/train-images-idx3-ubyte", idx(2**20, 2**15, 2**15)), data(*fashion)),
        Case("data", "idx: 1 GB of zeros in 1 MB", lambda f: (
            (f / "idx/train-images-idx3-ubyte").unlink(), (f / "idx/train-images-idx3-ubyte.gz").write_bytes(
                gzip.compress(idx(1_400_000, 28, 28) + bytes(10**9)))), data(*fashion)),
        Case("data", "parquet: images that are pickles", parquet_pickle, data("dataset=parquet", "dataset.path=parquet")),
        Case("data", "parquet: no parquet", write("parquet/train-0.parquet", b"PAR1" + b"\xff" * 40 + b"PAR1"),
             data("dataset=parquet", "dataset.path=parquet")),
        Case("data", "folder: a picture of 10 gigapixels", write("images/a/0.png", png(100_000, 100_000)), data(*folder)),
        Case("data", "folder: a pickle for a picture", write("images/a/0.png", pickle.dumps(Bomb())), data(*folder)),
        Case("data", "folder: PostScript for a picture", write("images/a/0.png", "%!PS-Adobe-3.0 EPSF-3.0\n(RAN) (w) file\n"),
             data(*folder)),
        Case("data", "folder: classes named like code", class_folder, (*EXPORT, "dataset=folder", "dataset.path=images"), fine=True),
        Case("image", "10 gigapixels", write("x.png", png(100_000, 100_000)), PREDICT),
        Case("image", "a pickle", write("x.png", pickle.dumps(Bomb())), PREDICT),
    ]  # fmt: skip


def setting_cases() -> list[Case]:
    callback = f"# @package _global_\nhydra: {{callbacks: {{x: {{_target_: os.system, command: {SHELL}}}}}}}\n"
    logger = ("# @package _global_\nhydra: {job_logging: {version: 1, root: {level: INFO, handlers: [x]}, "
              f"handlers: {{x: {{'()': os.system, command: {SHELL}}}}}}}}}\n")  # fmt: skip
    own = ("cost", "arch=lenet5", "--config-dir", "conf", "+recipe=own")
    measured = ("search", "space=tiny", "dataset=digits", "trials=1", "executor=local", "run=s", "recipe=quick")
    return [
        *(Case("config", name, write("conf/recipe/own.yaml", text), own, fine) for name, text, fine in (
            ("a callback", callback, False), ("a logger", logger, False), ("a tag that calls", f"a: {TAG}\n", False),
            ("a resolver", "# @package _global_\nresolution: ${eval:__import__('os').system('touch RAN')}\n", False),
            ("a value within itself", "# @package _global_\nresolution: ${resolution}\n", False),
            ("a target", "# @package _global_\nresolution: {_target_: os.system, command: touch RAN}\n", False),
        )),
        Case("config", "a name for a class", lambda f: None, ("search", "controller.name=os.system", "run=s")),
        *(Case("plugin", name, write("own.py", PYTHON), ("cost", "arch=lenet5", f"plugins=[{text}]")) for name, text in (
            ("a path", "../own"), ("a file", "conf/own.py"), ("a call", "__import__('os').system('touch RAN')"),
            ("a dotted path", "..own"), ("no name", "'1;2'"))),
        Case("plugin", "a module beside the files", write("yaml.py", PYTHON), ("cost", "arch=lenet5"), fine=True),
        Case("plugin", "a package of Hydra beside the files", lambda f: (
            (f / "hydra_plugins").mkdir(), (f / "hydra_plugins/own.py").write_text(PYTHON)), ("cost", "arch=lenet5"), fine=True),
        *(Case("latency", f"a predictor: {name}", write("own.json", text), (*measured, "device=host", "device.host.predictor=own.json"))
          for name, text in (("nested deep", DEEP), ("a list", "[1]"), ("code for a kind", json.dumps({"kind": NAME})),
                             ("wrong types", '{"kind": "learned", "space": 1, "ms": {}, "genomes": "x"}'), ("a pickle", "cos\nsystem\n."))),
        *(Case("latency", f"a table: {name}", write("own.csv", text), (*measured, "device=table", "device.table.path=own.csv"))
          for name, text in (("code", f"op,input,output,kernel,stride,expansion,se,activation,ms\n{NAME},,,,,,,,1\n"),
                             ("no numbers", "op,input,output,kernel,stride,expansion,se,activation,ms\nconv,,,,,,,,nan\n"),
                             ("a field of a megabyte", "op,ms\n" + "x" * 1_000_000 + ",1\n"), ("not text", "\0\0\0"))),
        *(Case("latency", f"samples: {name}", write("own.csv", text), (*measured, "device=samples", "device.samples.path=own.csv"))
          for name, text in (("code", f"genome,ms\n__import__('os').system('{SHELL}'),1\n"),
                             ("a file for an architecture", "arch,ms\nown.csv,1\n"),
                             ("an endless genome", "genome,ms\n" + "1 " * 60_000 + ",1\n"))),
        Case("benchmark", "records nested deep", write("macro/nas-bench-macro_cifar10.json", DEEP),
             ("bench", "benchmark=nas_bench_macro", "path=macro", "controllers=[random]", "evaluations=2", "seeds=1", "run=bench")),
    ]  # fmt: skip


def cases() -> list[Case]:
    return [*yaml_cases(), *weight_cases(), *journal_cases(), *data_cases(), *setting_cases()]
