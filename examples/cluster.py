"""A search on a Ray cluster.

    python examples/cluster.py --address auto --storage /shared/nas    # on a node of a running cluster
    python examples/cluster.py                                         # a local Ray on this machine, ended with the search
    python examples/cluster.py --toy

Cost: 200 short trainings of networks of MnasNet's space on 5,000 images of CIFAR-10 (`cifar10/train*.parquet`, Hugging
Face's layout), each with a GPU of its own. The toy, two trainings of one epoch on a local Ray, takes about 20 seconds.
Expect: the same proposals with any number of workers. Kill a worker, a node or this script: the same command resumes, and
`nas status run=runs/cluster` shows who works on what from any terminal.
"""

from __future__ import annotations

import argparse

import nas


def main(address: str | None, storage: str | None, gpus: float, toy: bool) -> None:
    cifar10 = {"name": "parquet", "path": "cifar10", "train_size": 5000}
    result = nas.search(
        "tiny" if toy else "mnasnet",
        {"train_size": 200} if toy else cifar10,
        objectives={"accuracy": "max", "macs": "min"},
        controller="random" if toy else "bayesian",
        device=[],
        recipe={"name": "quick", "epochs": 1} if toy else "proxy",
        executor={"name": "ray", "address": address, "gpus": 0 if toy else gpus, "workers": 1 if toy else None},
        trials=2 if toy else 200,
        search={"in_flight": 2 if toy else 16},  # trials proposed ahead of results: at least the number of workers
        storage=storage,  # weights, where every node sees them
        run="runs/cluster",
        progress=True,
    )
    print(result)
    print(f"{result.run / 'report.html'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", help="auto, or ray://host:10001; without it a local Ray is started")
    parser.add_argument("--storage", help="a folder that all nodes see")
    parser.add_argument("--gpus", type=float, default=1, help="of one trial; 0.25: four trials on a GPU")
    parser.add_argument("--toy", action="store_true")
    arguments = parser.parse_args()
    main(arguments.address, arguments.storage, arguments.gpus, arguments.toy)
