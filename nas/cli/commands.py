"""The commands: which function runs each, and what the help says of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A command: the YAML in conf/ that holds its keys, the function that runs it, a line and examples for the help."""

    summary: str
    function: str
    examples: tuple[str, ...]


COMMANDS = {
    "search": Command(
        "search a space for the Pareto front of accuracy against cost on your data and device",
        "nas.cli.search:search",
        (
            "nas search                                        tiny space, digits, this machine",
            "nas search dataset=folder dataset.path=photos space=mobilenet_v3 trials=100",
            "nas search controller=evolution seed=1 objective.constraints.params=200000",
            "nas search executor=ray executor.address=auto     on a running Ray cluster",
            "nas search -m seed=0,1,2 run=runs/seeds           a sweep: runs/seeds/seed=0, ..",
            "nas search trials=48                              continues the first run up to 48 trials",
            "nas search run=runs/default                       continues a run with all its settings",
        ),
    ),
    "cost": Command(
        "parameters, multiply-adds and activation memory of an architecture, layer by layer",
        "nas.cli.cost:show_cost",
        (
            "nas cost arch=mobilenet_v3_large",
            "nas cost arch=runs/default/best.yaml resolution=64 json=true",
            "nas cost arch=mobilenet_v2 width=1.4 depth=1.2",
            "nas cost arch=mobilenet_v3_large device=onnxruntime       with its latency",
            "nas cost space=mobilenet_v3 device=onnxruntime            quantiles, to choose a limit by",
            'nas cost arch="ds_r1_k3_s1_e1_c16_noskip,ir_r2_k3_s2_e6_c24_se0.25_nre"',
        ),
    ),
    "bench": Command(
        "compare controllers on a published table of trained networks",
        "nas.cli.bench:bench",
        (
            "nas bench path=downloads/nas_bench_macro controllers=[random,bayesian] evaluations=60 seeds=10",
            "nas bench benchmark=accel_nasbench path=downloads/accel_nasbench cost=latency_ms/a100 evaluations=300",
        ),
    ),
    "profile": Command(
        "measure networks on a device, fit the latency predictor, and report how good it is",
        "nas.cli.profile:profile",
        (
            "nas profile space=mobilenet_v3 device=litert resolution=96",
            "nas profile space=my_space.yaml device=litert samples=200 out=litert.json",
            "nas search space=mobilenet_v3 device=litert device.litert.predictor=predictor-litert.json",
        ),
    ),
    "report": Command(
        "write the report of a run again, or compare several runs",
        "nas.cli.report:report",
        (
            "nas report run=runs/default",
            "nas report run=runs/default json=true",
            "nas report run=runs/default scaled=[runs/family]",
            "nas report runs=[runs/a,runs/b] out=compare.html",
            "nas report runs=runs/seeds                        means and standard deviations over the seeds of a sweep",
        ),
    ),
    "estimate": Command(
        "predict accuracy and latency of any networks of a run's space from its trials, with intervals",
        "nas.cli.estimate:estimate",
        (
            "nas estimate run=runs/default arch=front",
            "nas estimate run=runs/default arch=mine.yaml,other.yaml json=true",
        ),
    ),
    "suggest": Command(
        "what the models of a run would try next, and why",
        "nas.cli.estimate:suggest",
        ("nas suggest run=runs/default n=5", "nas suggest run=runs/default n=10 seed=1 out=next"),
    ),
    "status": Command(
        "how a run stands, from another terminal while it runs",
        "nas.cli.status:status",
        ("nas status run=runs/default", "nas status run=runs/default json=true"),
    ),
    "export": Command(
        "a trained network as a bundle (ONNX, TFLite, StableHLO, source); an architecture as block strings or YAML",
        "nas.cli.export:export",
        (
            "nas export weights=runs/net/weights.npz",
            "nas export arch=mnasnet_a1 formats=[timm,tf]",
            "nas export arch=runs/default/best.yaml formats=[yaml] out=exported",
        ),
    ),
    "adapt": Command(
        "shrink a trained network step by step to a latency (NetAdapt)",
        "nas.cli.adapt:adapt",
        (
            "nas adapt weights=runs/net/weights.npz",
            "nas adapt weights=runs/net/weights.npz target_ms=0.5 device=[onnxruntime] adapt.step=0.03",
        ),
    ),
    "supernet": Command(
        "train weights that all candidates of a space share, once for many searches",
        "nas.cli.supernet:supernet",
        (
            "nas supernet run=runs/super                       tiny space, digits: what it does, in minutes",
            "nas supernet space=mobilenet_v3 dataset=folder dataset.path=photos strategy=sandwich run=runs/super",
            "nas supernet run=runs/super fidelity=20           trains 20 networks alone too: how well do the shared weights rank?",
            "nas search evaluator=supernet evaluator.weights=runs/super trials=300",
            "nas train arch=runs/default/best.yaml weights=supernet:runs/super",
        ),
    ),
    "scale": Command(
        "scale an architecture: a family by compound scaling, to budgets, or by coefficients found on your data",
        "nas.cli.scale:scale",
        (
            "nas scale arch=efficientnet_b0 preset=efficientnet phi=[1,2,3,4,5,6,7]",
            "nas scale arch=runs/default/best.yaml phi=[1,2] run=runs/family",
            "nas scale arch=runs/default/best.yaml target_ms=[1,2,4] device=[onnxruntime]",
            "nas scale arch=runs/default/best.yaml grid.search=true dataset=folder dataset.path=photos",
        ),
    ),
    "predict": Command(
        "say what images show by a trained network: classes, objects, masks; compare and look up images",
        "nas.cli.predict:predict",
        ("nas predict weights=runs/net/bundle image=photo.jpg", "nas predict weights=runs/net/bundle image=photos/ json=true"),
    ),
    "explain": Command(
        "show what a network's answers rest on: Grad-CAM, saliency, feature maps, filters, receptive fields",
        "nas.cli.explain:explain",
        (
            "nas explain weights=runs/net/bundle image=photo.jpg",
            "nas explain weights=runs/net/bundle image=photos/ methods=[grad_cam] tap=C3 features=[stem,C2] out=why",
        ),
    ),
    "train": Command(
        "train an architecture on a dataset and keep its weights",
        "nas.cli.train:train",
        (
            "nas train arch=runs/default/best.yaml",
            "nas train arch=runs/default/best.yaml dataset=digits recipe.epochs=40",
            "nas train arch=mobilenet_v3_large weights=keras:v3.keras dataset=folder dataset.path=photos",
            "nas train arch=resnet50 weights=torchvision:resnet50.pth dataset=folder dataset.path=photos",
        ),
    ),
}
