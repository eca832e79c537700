"""torchvision's VGG-11 with batch normalization, narrow."""

from _vgg import golden

golden(batch_norm=True)
