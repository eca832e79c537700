"""U-Net as in the paper, without norms, narrow."""

from _unet import golden

golden(norm=False)
