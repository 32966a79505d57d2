"""Bundles: a trained network in a folder with everything that running it elsewhere needs, every file checked."""

from nas.workflows.export.bundle import Bundle, Made, load_bundle, make_bundle
from nas.workflows.export.formats import FORMATS, available

__all__ = ["FORMATS", "Bundle", "Made", "available", "load_bundle", "make_bundle"]
