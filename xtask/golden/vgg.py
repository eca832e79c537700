"""torchvision's VGG-11, narrow."""

from _vgg import golden

golden(batch_norm=False)
