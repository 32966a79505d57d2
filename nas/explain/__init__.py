"""Looking inside a network: what a value of it is, and which pixels its answer depends on.

All are pure functions of a graph, its variables and a batch of normalized images, to be compiled like `nas.nn.network.apply`:

    from nas.explain import grad_cam
    found = grad_cam(graph, variables, images, classes)        # (n, h, w) of the last feature map
"""

from nas.explain.gradients import input_gradient, integrated_gradients, saliency, smooth_grad
from nas.explain.maps import cam, cam_layers, grad_cam
from nas.explain.pictures import channels, filters, first_filters, grid, heat, overlay
from nas.explain.shown import METHODS, MethodSettings, explained, picture
from nas.explain.taps import features, find_node, last_map

__all__ = [
    "METHODS",
    "MethodSettings",
    "cam",
    "cam_layers",
    "channels",
    "explained",
    "features",
    "filters",
    "find_node",
    "first_filters",
    "grad_cam",
    "grid",
    "heat",
    "input_gradient",
    "integrated_gradients",
    "last_map",
    "overlay",
    "picture",
    "saliency",
    "smooth_grad",
]
