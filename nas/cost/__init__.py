"""Exact parameters, multiply-adds and peak activation memory, of one architecture and of many genomes at once.

from nas.cost import Costs, cost
cost(arch).macs                        # 216_589_760 for mobilenet_v3_large
costs = Costs(space)
costs(genomes)["macs"]                 # (n,) int64, equal to cost(space.decode(genome)).macs
"""

from nas.cost.count import Cost, LayerCost, alive_bytes, cost, cost_json, cost_table
from nas.cost.features import FEATURES, feature_row, layer_features
from nas.cost.genomes import METRICS, Costs
from nas.cost.hardware import HARDWARE, hardware_row

__all__ = [
    "FEATURES",
    "HARDWARE",
    "METRICS",
    "Cost",
    "Costs",
    "LayerCost",
    "alive_bytes",
    "cost",
    "cost_json",
    "cost_table",
    "feature_row",
    "hardware_row",
    "layer_features",
]
