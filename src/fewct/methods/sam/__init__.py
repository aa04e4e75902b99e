"""Segment Anything (https://arxiv.org/abs/2304.02643) and its kin: networks, checkpoints, prompts."""
