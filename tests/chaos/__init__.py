"""A search on a Ray cluster whose workers, nodes and driver are killed at random; nothing may be lost, nothing evaluated twice."""
