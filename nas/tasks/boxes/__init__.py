"""What detectors do with boxes: overlaps and codes, default boxes, matching, losses, and non-maximum suppression.

Boxes are (.., 4) arrays of y0, x0, y1, x1 in fractions of the image. Nothing here imports JAX when it is loaded.
"""
