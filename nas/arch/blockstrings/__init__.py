"""Architectures as block strings, in TensorFlow's form and in timm's, both ways.

    parse("r1_k3_s11_e1_i32_o16_noskip,r2_k3_s22_e6_i16_o24")          # tensorflow/tpu: mnasnet, efficientnet; google/automl
    parse("ds_r1_k3_s1_e1_c16_noskip,ir_r2_k3_s2_e6_c24_se0.25_nre")   # timm, efficientnet-jax
    format(arch, "timm").text

A comma separates stages, a plus strings of one stage. What strings do not say stands beside them as `keys`, in the words of
an architecture's file: name, resolution, stem, head, defaults and the rest. Every token is read or refused by name.

Where the two forms or their readers differ: TF rounds nothing, timm rounds expansions to multiples of 8; `ir` in timm expands
even at e1, MBConv in TF does not; TF's residual asks for the declared input width (`i`), not the real one. Squeeze-and-excitation
in timm rounds its width, and has its string's activation unless the model forces one: `se_act: block`, which strings alone have;
with keys beside them it is a key of `defaults`, since files of before say nothing and mean ReLU. `ds` and `cn`,
which ignore `e` in timm, tell MBConv (`e1`) from a separable convolution and fused MBConv (`e1`) from a plain one here.
"""

from nas.arch.blockstrings.grammar import FORMS, form_of, looks_like
from nas.arch.blockstrings.reading import parse
from nas.arch.blockstrings.writing import BlockStrings, format

__all__ = ["FORMS", "BlockStrings", "form_of", "format", "looks_like", "parse"]
