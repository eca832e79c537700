"""The authors' FCN-8s, narrow."""

from _fcn import golden

golden(8, classes=3)
