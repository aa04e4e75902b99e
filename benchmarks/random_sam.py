"""Random weights for SAM whose masks are like those of a trained network: whole, and of any size.

Weights drawn as networks begin give no such masks, and then neither the masks that survive nor the time that
they take say anything. So two things are not left to chance: pixels look for tokens as tokens are looked for,
which makes pixels near a point differ from the others; and the last layers are scaled to the image.
"""

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fewct.methods.sam.conventions import INSIDE, NO_POINT
from fewct.methods.sam.modeling.image_encoder import ViTShape
from fewct.methods.sam.modeling.sam import Sam, SamShape

VIT_B = ViTShape(width=768, heads=12, windows=(14, 14, 0) * 4, hidden=3072)
LOGITS_STD, LOGITS_MEAN = 6.0, -14.0  # as wide as those of trained networks, and mostly outside the structure
IOU_STD, IOU_MEAN = 0.06, 0.85
DIRECTIONS = 10


@torch.inference_mode()
def random_vit_b(pixels: Annotated[NDArray[np.float32], "3 1024 1024"], seed: int = 0) -> Sam:
    """Return SAM with the image encoder ViT-B and random weights, with masks of some size on an image.

    Args:
        pixels: The image, as the image encoder takes it.
        seed: Draws the weights.
    """
    torch.manual_seed(seed)
    network = Sam(SamShape(VIT_B)).eval()
    for name, parameter in network.named_parameters():
        _draw(name, parameter)
    network.image_encoder.neck[3].weight *= 0.5
    for block in network.mask_decoder.transformer.layers:
        attention = block.cross_attn_image_to_token
        attention.q_proj.weight *= 2
        attention.out_proj.weight *= 2
        block.norm4.weight *= 0.5
        attention.k_proj.load_state_dict(attention.q_proj.state_dict())
    _scale_last_layers(network, network.image_encoder(torch.from_numpy(pixels)[None]))
    return network


def _draw(name: str, parameter: Tensor) -> None:
    """Draw a parameter by its size, so that what goes through the network neither grows nor shrinks."""
    if parameter.ndim == 1:
        nn.init.normal_(parameter, 1.0 if name.endswith("weight") else 0.0, 0.1)
    elif "pos" in name:
        nn.init.normal_(parameter, 0.0, 0.02)
    elif name.startswith("image_encoder.neck"):  # means of neighbours, or masks would be speckled
        nn.init.normal_(parameter, 0.0, len(parameter) ** -0.5)
        parameter.copy_(parameter.mean(dim=(2, 3), keepdim=True).expand_as(parameter))
    elif "embed" in name or "token" in name.split(".")[-2]:
        nn.init.normal_(parameter, 0.0, 0.5)
    elif "output_upscaling" in name:  # alike in the smaller pixels of a pixel, or masks would be chequered
        nn.init.normal_(parameter, 0.0, parameter.shape[0] ** -0.5)
        parameter.copy_(parameter[..., :1, :1].expand_as(parameter))
    else:
        nn.init.normal_(parameter, 0.0, parameter[0].numel() ** -0.5)


def _scale_last_layers(network: Sam, embedding: Tensor) -> None:
    """Bring logits and predicted IoU of some prompts on an image to a mean and a deviation."""
    prompts, decoder = network.prompt_encoder, network.mask_decoder
    places = torch.linspace(0.1, 0.9, 5) * network.image_size
    xy = torch.stack([torch.cartesian_prod(places, places), torch.zeros(25, 2)], dim=1)
    labels = torch.tensor([INSIDE, NO_POINT]).expand(25, 2)
    tokens = decoder.image_tokens(embedding, prompts.mask(None), prompts.positions())
    decoded = decoder.decode(tokens, prompts.points(xy, labels)[None])

    score = decoder.iou_prediction_head.layers[-1]
    scale = IOU_STD / decoded.predicted_iou.std(dim=0)
    score.weight *= scale[:, None]
    score.bias.copy_((score.bias - decoded.predicted_iou.mean(dim=0)) * scale + IOU_MEAN)

    features = _kernel_channels(decoder, decoded.pixels)
    means = features.mean(dim=1)
    shared = torch.linalg.svd(means).Vh[
        :DIRECTIONS
    ]  # in these, images differ from prompt to prompt as a whole
    across = torch.eye(means.shape[1]) - shared.T @ shared
    level = shared.T @ torch.linalg.lstsq(means @ shared.T, torch.ones(len(means), 1)).solution[:, 0]
    for i, kernel in enumerate(decoder.output_hypernetworks_mlps):
        last = kernel.layers[-1]
        logits = features @ (across @ decoded.kernels[:, i].T).T[..., None]
        scale = LOGITS_STD / logits.std(dim=1).mean()
        last.weight.copy_(scale * across @ last.weight)
        last.bias.copy_(scale * across @ last.bias + LOGITS_MEAN * level)


def _kernel_channels(decoder: nn.Module, pixels: Tensor) -> Tensor:
    """Return the channels that kernels are multiplied with, (prompts, pixels, channels)."""
    channels = pixels.shape[-1] // 8
    units = torch.eye(channels).expand(len(pixels), -1, -1)
    return decoder.mask_logits(pixels, units).flatten(2).mT
