"""How well are latencies predicted from measured networks? Eight published device columns, beside five usual regressors.

    python benchmarks/latency_predictor.py path=<folder> [--json FILE] [--quick] [devices=tpuv3_throughput,...] [draws=10]

The folder holds the published `anb_dataset_jsons.tar.gz` of Accel-NASBench; throughputs are scored as milliseconds an image.
For every column: models of 80 % of the networks, scored on the other 20 %; of 100 networks of the 80 % (mean of the draws);
and of 10 networks with predictors of devices of other families (GPU, TPU, FPGA) as priors. A network that stands twice is on
one side. The noise floor comes from the networks that stand twice: the deviation of one measurement, and Kendall's tau that
a perfect predictor would reach. Results go to FILE as they come; the same command resumes from there.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from options import options_of, run
from scipy.stats import kendalltau
from threadpoolctl import threadpool_limits

from nas.core.settings import did_you_mean
from nas.latency import LearnedPredictor, fit_predictor
from nas.latency.predictors.base import scores
from nas.latency.predictors.learned.features import LayerCounts
from nas.space import load_space
from nas.surrogates.models import Pairs, trees
from nas.tabular.accel_nasbench import COLUMNS, milliseconds, read

FAMILIES = {"a100": "GPU", "3090": "GPU", "tpuv2": "TPU", "tpuv3": "TPU", "zcu102": "FPGA", "vck190": "FPGA"}
SAMPLES, FEW, SOURCE = 100, 10, 400
DEFAULTS = {"json": "", "devices": "", "draws": "", "quick": ""}
METRICS = ("tau", "mape", "within_5", "within_10")
Rows = np.ndarray
Predict = Callable[[Rows], Rows]


@dataclass(frozen=True)
class Column:
    """The networks that a device measured: genomes, milliseconds, and which are held out."""

    name: str
    genomes: Rows
    ms: Rows
    test: Rows

    def train(self, count: int | None = None, seed: int = 0) -> Rows:
        rows = np.flatnonzero(~self.test)
        return rows if count is None else np.random.default_rng([seed, count]).permutation(rows)[:count]

    @cached_property
    def noise(self) -> tuple[float, float, int]:
        """Root mean square and median of the relative deviation of a measurement, and the pairs that they come from."""
        _, group, count = np.unique(self.genomes, axis=0, return_inverse=True, return_counts=True)
        twice = [self.ms[group.reshape(-1) == g] for g in np.flatnonzero(count == 2)]
        errors = np.array([abs(a - b) / 2**0.5 / (0.5 * (a + b)) for a, b in twice])
        return float(np.sqrt(np.mean(errors**2))), float(np.median(errors)), len(errors)


def columns_of(path: Path) -> dict[str, Column]:
    records = list(read(path, load_space("accel_nasbench")))
    genomes = np.array([genome for genome, _ in records])
    _, group = np.unique(genomes, axis=0, return_inverse=True)
    test = np.random.default_rng(0).permutation(int(group.max()) + 1)[group.reshape(-1)] % 5 == 0
    out = {}
    for field in COLUMNS:
        kind, device = field.split("_")
        ms = milliseconds(records, field)
        known = ~np.isnan(ms)
        out[f"{device}_{kind}"] = Column(f"{device}_{kind}", genomes[known], ms[known], test[known])
    return out


class Baselines:
    """Five usual regressors. Times are their target where costs are linear in them, logarithms elsewhere."""

    names = ("ridge, one-hot pairs", "ridge, stage costs", "boosted trees", "random forest", "Gaussian process")

    def __init__(self, counts: LayerCounts):
        self.counts = counts

    def costs(self, genomes: Rows) -> Rows:
        return self.counts.costs.features(genomes).astype(float)

    def fit(self, name: str, genomes: Rows, ms: Rows) -> Predict:
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        def both(rows: Rows) -> Rows:
            return np.concatenate([rows, self.costs(rows)], axis=1)

        if name == "ridge, one-hot pairs":
            pairs = Pairs.fit(genomes, np.log(ms), self.counts.space.option_counts)
            return lambda rows: np.exp(pairs(rows))
        if name == "ridge, stage costs":
            linear = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13))).fit(self.costs(genomes), ms)
            return lambda rows: linear.predict(self.costs(rows))
        if name == "boosted trees":
            boosted = trees(both(genomes), np.log(ms), 400)
            return lambda rows: np.exp(boosted(both(rows)))
        if name == "random forest":
            forest = RandomForestRegressor(60, random_state=0).fit(both(genomes), ms)
            return lambda rows: forest.predict(both(rows))
        return self._process(genomes, ms)

    def _process(self, genomes: Rows, ms: Rows) -> Predict:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
        from sklearn.preprocessing import StandardScaler

        kept = np.random.default_rng(0).permutation(len(ms))[:1000]
        x, y = self.costs(genomes[kept]), ms[kept]
        kernel = (
            ConstantKernel(1.0) * DotProduct()
            + ConstantKernel(1.0) * RBF(10.0, (1e-1, 1e3))
            + WhiteKernel(1e-2, (1e-6, 1e1))
        )
        few = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
        scale = StandardScaler().fit(x)
        few.fit(scale.transform(x[:300]), y[:300])
        fixed: Any = None  # an optimizer, or none; scikit-learn declares strings alone
        process = GaussianProcessRegressor(few.kernel_, optimizer=fixed, normalize_y=True).fit(scale.transform(x), y)
        return lambda rows: np.asarray(process.predict(scale.transform(self.costs(rows))))


def compared(column: Column, counts: LayerCounts, count: int | None, seeds: int) -> dict[str, Any]:
    """Every model's mean scores on the held-out networks, and what our cross-validation and intervals promised."""
    genomes, ms, held = column.genomes, column.ms, column.test
    baselines, found, extra, weights = Baselines(counts), {}, [], {}
    for seed in range(seeds):
        rows = column.train(count, seed)
        for name in Baselines.names:
            predict = baselines.fit(name, genomes[rows], ms[rows])
            found.setdefault(name, []).append(scored(predict(genomes[held]), ms[held]))
        start = time.process_time()
        ours = fit_predictor(counts.space, genomes[rows], ms[rows], counts=counts)
        seconds = time.process_time() - start
        found.setdefault("ours", []).append(scored(ours.predict(genomes[held]), ms[held]))
        extra.append({**promised(ours, genomes[held], ms[held]), "seconds": seconds})
        weights = ours.record.weights
    return {
        "models": {name: _mean(rows) for name, rows in found.items()},
        "ours": _mean(extra),
        "weights": weights,
    }


def scored(predicted: Rows, measured: Rows) -> dict[str, float]:
    return {name: scores(np.maximum(predicted, 1e-6), measured)[name] for name in METRICS}


def promised(ours: LearnedPredictor, genomes: Rows, ms: Rows) -> dict[str, float]:
    low, high = ours.interval(genomes, 0.9)
    return {
        "mape_in_cross_validation": ours.mape,
        "covered_of_90": float(((low <= ms) & (ms <= high)).mean()),
        "outside": float(ours.outside(genomes).mean()),
    }


def _mean(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


class Source:
    """A predictor of another device, its answers kept."""

    def __init__(self, predictor: LearnedPredictor, genomes: Rows):
        self.predictor = predictor
        self.known = dict(zip(map(tuple, genomes.tolist()), predictor.predict(genomes).tolist(), strict=True))

    def predict_many(self, space: Any, genomes: Any) -> Rows:
        return np.array([self.known[tuple(row)] for row in np.asarray(genomes).tolist()])

    def to_dict(self) -> dict[str, Any]:
        return self.predictor.to_dict()


def transferred(column: Column, sources: Sequence[Source], counts: LayerCounts, seeds: int) -> dict[str, Any]:
    """Scores with few networks: with the other families' predictors, and without."""
    genomes, ms, held, found = column.genomes, column.ms, column.test, {}
    for seed in range(seeds):
        rows = column.train(FEW, seed)
        for name, priors in (("with transfer", sources), ("without", ())):
            ours = fit_predictor(counts.space, genomes[rows], ms[rows], priors=priors, counts=counts)
            found.setdefault(name, []).append(scored(ours.predict(genomes[held]), ms[held]))
    return {"models": {name: _mean(rows) for name, rows in found.items()}}


def ceiling(column: Column) -> float:
    """Kendall's tau of the held-out times with themselves measured once more, by normal noise of the median deviation."""
    ms, rng = column.ms[column.test], np.random.default_rng(0)
    return float(np.asarray(kendalltau(ms, ms * (1 + column.noise[1] / 0.6745 * rng.normal(size=len(ms)))))[0])


def show(name: str, result: Mapping[str, Any], baselines: bool = True) -> None:
    models = result["models"]
    best = {m: max((v[m] for k, v in models.items() if k != "ours"), default=0.0) for m in METRICS}
    if baselines:
        best["mape"] = min(v["mape"] for k, v in models.items() if k != "ours")
    print(f"\n{name}")
    for model, row in models.items():
        cells = f"tau {row['tau']:.3f}  MAPE {row['mape']:6.2%}  within 5 % {row['within_5']:6.1%}  within 10 % {row['within_10']:6.1%}"
        print(f"  {model:22s} {cells}")
    if baselines:
        ours, extra = models["ours"], result["ours"]
        print(f"  best of five           tau {best['tau']:.3f}  MAPE {best['mape']:6.2%}  within 5 % {best['within_5']:6.1%}"
              f"  within 10 % {best['within_10']:6.1%}   ours {ours['tau'] - best['tau']:+.3f} tau")  # fmt: skip
        print(f"  held-out MAPE promised {extra['mape_in_cross_validation']:.2%}, 90 % intervals hold {extra['covered_of_90']:.1%},"
              f" outside {extra['outside']:.1%}, fitted in {extra['seconds']:.1f} s")  # fmt: skip


def speed(column: Column, counts: LayerCounts) -> dict[str, float]:
    """Predictions a second of fresh genomes, with 100 and with all networks measured."""
    rng, out = np.random.default_rng(5), {}
    for count in (SAMPLES, None):
        rows = column.train(count)
        ours = fit_predictor(counts.space, column.genomes[rows], column.ms[rows], counts=counts)
        ours.predict(column.genomes[:10])
        fresh = rng.integers(counts.space.option_counts, size=(40_000, len(counts.space.genes)))
        start = time.perf_counter()
        ours.predict(fresh)
        out[str(count or "all")] = len(fresh) / (time.perf_counter() - start)
    return out


def main(arguments: Sequence[str]) -> int:
    options = options_of(arguments, DEFAULTS, "the published anb_dataset_jsons.tar.gz")
    quick = bool(options["quick"])
    seeds = int(options["draws"] or (2 if quick else 10))
    columns = columns_of(Path(options["path"]))
    names = options["devices"].split(",") if options["devices"] else [*columns]
    for name in names:
        if name not in columns:
            raise ValueError(f"devices: unknown {name!r}{did_you_mean(name, columns)} (known: {', '.join(columns)})")
    file = Path(options["json"]) if options["json"] else None
    results: dict[str, Any] = json.loads(file.read_text()) if file and file.exists() else {}
    counts = LayerCounts(load_space("accel_nasbench"))

    def done(key: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if key not in results:
            results[key] = work()
            if file:
                file.write_text(json.dumps(results, indent=1) + "\n")
        return results[key]

    few, some, full = [], [], []
    for name in names:
        column = columns[name]
        rms, median, pairs = column.noise
        print(f"\n{name}: a measurement deviates by {median:.2%} (median; {rms:.2%} root mean square) in {pairs} networks that stand "
              f"twice; no predictor's tau can be over about {ceiling(column):.3f}")  # fmt: skip
        some.append(done(f"{name} {SAMPLES} {seeds}", lambda c=column: compared(c, counts, SAMPLES, seeds)))
        show(f"{name}, {SAMPLES} networks, mean of {seeds} draws", some[-1])
        if not quick:
            full.append(done(f"{name} all", lambda c=column: compared(c, counts, None, 1)))
            show(f"{name}, 80 % of {len(column.ms)} networks", full[-1])
    everything = np.unique(np.concatenate([c.genomes for c in columns.values()]), axis=0)
    sources: dict[str, Source] = {}

    def transfer(name: str) -> dict[str, Any]:
        others = [o for o in columns if FAMILIES[o.split("_")[0]] != FAMILIES[name.split("_")[0]]]
        for column in (columns[o] for o in others if o not in sources):
            rows = column.train(SOURCE)
            fitted = fit_predictor(counts.space, column.genomes[rows], column.ms[rows], counts=counts)
            sources[column.name] = Source(fitted, everything)
        return transferred(columns[name], [sources[o] for o in others], counts, seeds)

    for name in names:
        few.append(done(f"{name} {FEW} {seeds}", lambda n=name: transfer(n)))
        show(f"{name}, {FEW} networks, mean of {seeds} draws", few[-1], baselines=False)
    print("\nmeans over the columns")
    for title, rows in ((f"{SAMPLES} networks", some), ("80 %", full)):
        for model in (*Baselines.names, "ours") if rows else ():
            means = _mean([row["models"][model] for row in rows])
            print(f"  {title:14s} {model:22s} tau {means['tau']:.3f}  MAPE {means['mape']:.2%}  within 5 % {means['within_5']:.1%}"
                  f"  within 10 % {means['within_10']:.1%}")  # fmt: skip
    for model in ("with transfer", "without"):
        means = _mean([row["models"][model] for row in few])
        print(f"  {FEW} networks    {model:22s} tau {means['tau']:.3f}  MAPE {means['mape']:.2%}")
    rates = done("predictions a second", lambda: speed(columns[names[0]], counts))
    print(f"  predictions a second: {', '.join(f'{v:,.0f} ({k} networks measured)' for k, v in rates.items())}")
    return 0


if __name__ == "__main__":
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore")
        run(main)
