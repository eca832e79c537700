"""The same depthwise separable convolution with a bias in place of the norm."""

from separable import golden

golden(norm=False)
