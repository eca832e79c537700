"""U-Net with batch norm, narrow."""

from _unet import golden

golden(norm=True)
