"""No-op trials a second of Ray Tune with reused actors; runs in an environment with `ray[tune]`, prints one JSON line.

    python benchmarks/tune_rate.py [--trials 100] [--workers 2]
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    import ray
    from ray import tune  # type: ignore[reportMissingImports]

    class Nothing(tune.Trainable):
        def setup(self, config):
            self.x = config["x"]

        def step(self):
            return {"accuracy": self.x, "done": True}

        def reset_config(self, new_config):
            self.x = new_config["x"]
            return True

        def save_checkpoint(self, checkpoint_dir):
            return None

    ray.init("local", num_cpus=arguments.workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        run = tune.RunConfig(storage_path=folder, verbose=0)
        settings = tune.TuneConfig(num_samples=arguments.trials, reuse_actors=True, max_concurrent_trials=arguments.workers)
        tuner = tune.Tuner(Nothing, param_space={"x": tune.uniform(0, 1)}, tune_config=settings, run_config=run)
        start = time.perf_counter()
        results = tuner.fit()
        seconds = time.perf_counter() - start
    assert len(results) == arguments.trials
    print(json.dumps({"trials": arguments.trials, "seconds": seconds, "rate": arguments.trials / seconds, "ray": ray.__version__}))
    ray.shutdown()


if __name__ == "__main__":
    main()
