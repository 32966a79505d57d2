"""What the trials of a run say of networks that were not tried: predictions with intervals, suggestions, effects of genes.

    models = read_models(journal)
    models["accuracy"].predict(rows)                         # rows: (n, genes) genomes of models.space
    suggest(models, 5, seed=0)
    effects(models, "accuracy")
"""

from nas.estimates.effects import Effect, effects
from nas.estimates.quantities import Learned, Predicted, Quantity
from nas.estimates.run import LEAST, RunModels, read_models
from nas.estimates.suggestions import Suggested, suggest

__all__ = ["LEAST", "Effect", "Learned", "Predicted", "Quantity", "RunModels", "Suggested", "effects", "read_models", "suggest"]
