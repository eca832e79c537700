"""The authors' FCN-32s, narrow."""

from _fcn import golden

golden(32, classes=1)
