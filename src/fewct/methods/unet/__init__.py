"""The founding paper's U-Net: structure against the rest, read as one region or as connected components."""

from fewct.methods.unet.method import UNet

__all__ = ["UNet"]
