"""A search space: an architecture with choices in it, and the genomes that pick among them.

Wherever an architecture's file has a value, a space may have a choice:

    kernel: {one_of: [3, 5]}                                one gene for the stage
    kernel: {one_of: [3, 5], per: layer}                    a gene for every layer of the stage
    kernel: {one_of: {name: k, of: [3, 5]}}                 the name ties: used twice it is one gene
    expand: {one_of: [3, 6], when: {op: mbconv}}            a gene only where another has that value
    block: {one_of: [{op: identity}, {op: mbconv, ..}]}     whole blocks
    forbid: [{stages[1].repeat: 3, k: 5}]                   combinations that do not exist

A gene's name is its place (`stages[1].repeat`, `stages[1].layers[0].kernel`) or the name given. `when` knows a gene by its
name or, within a stage, by its key. The key of an inactive choice is absent, so that the block's own default holds.
A genome is a tuple with one option index a gene; inactive genes are 0 in its canonical form, the only one handed out.
"""

from nas.space.files import load_space
from nas.space.space import Space
from nas.space.template import Gene, Genome, Hole, Pairs, Position, Rule, StageTemplate
from nas.space.vectorized import GenomeArrays, first_of

__all__ = [
    "Gene",
    "Genome",
    "GenomeArrays",
    "Hole",
    "Pairs",
    "Position",
    "Rule",
    "Space",
    "StageTemplate",
    "first_of",
    "load_space",
]
