"""An auxiliary classifier without a norm, as in the paper."""

from aux_classifier import golden

golden(norm=False)
