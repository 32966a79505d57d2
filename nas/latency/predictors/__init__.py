"""Latency predictors of a space, one package or file each.

    layerwise/   sums of layers: a few measured alone, the others by regression; what `nas search` fits by itself
    learned/     learned from whole networks that were measured; what `nas profile` fits
    table.py     sums of the rows of a published table

All keep the protocol in `base`; `loading.load_predictor` reads the plain data of any.
"""
