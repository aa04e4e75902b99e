"""Segment Anything (https://arxiv.org/abs/2304.02643) and its kin: checkpoints, prompts, everything."""

from fewct.methods.sam.everything import Everything

__all__ = ["Everything"]
