"""Latency learned from whole networks that were measured on any device by any means, with intervals."""
