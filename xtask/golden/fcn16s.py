"""The authors' FCN-16s, narrow."""

from _fcn import golden

golden(16, classes=2)
