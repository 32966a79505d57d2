"""Looking inside a network: what a value of it is, and which pixels its answer depends on.

All are pure functions of a graph, its variables and a batch of normalized images, to be compiled like `nas.nn.network.apply`:

    from nas.explain.maps import grad_cam
    map = grad_cam(graph, variables, images, classes)        # (n, h, w) of the last feature map
"""
