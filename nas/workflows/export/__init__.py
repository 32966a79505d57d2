"""Bundles: a trained network in a folder with everything that running it elsewhere needs, every file checked."""

from nas.workflows.export.bundle import Made, make_bundle
from nas.workflows.export.formats import FORMATS, available
from nas.workflows.export.loading import Bundle, load_bundle

__all__ = ["FORMATS", "Bundle", "Made", "available", "load_bundle", "make_bundle"]
