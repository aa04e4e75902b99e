"""What is compared between supports and query: styles, prototypes, deep features. All in PyTorch."""

import torch
from torch import Tensor
from torch.nn import functional

TINY = 1e-7
FALLOFF = 1.5  # what a squared unit of distance in the body costs, in units of cosine similarity


def cells(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the share of each cell of a coarser grid that masks cover.

    Args:
        masks: float (n, rows, columns): 1 in the structure.
        size: Rows and columns of the grid.
    """
    return functional.adaptive_avg_pool2d(masks[:, None], size)[:, 0]


def prototype(features: Tensor, masks: Tensor) -> Tensor:
    """Return the mean features in each mask (masked average pooling), (n, channels).

    Args:
        features: float (n, channels, rows, columns).
        masks: float (n, rows', columns'): 1 in the structure, on a grid that is as fine or finer.
    """
    share = cells(masks, (features.shape[2], features.shape[3]))[:, None]
    return (features * share).sum(dim=(2, 3)) / share.sum(dim=(2, 3)).clamp_min(TINY)


def prior_mask(
    query: Tensor, supports: Tensor, masks: Tensor, query_place: Tensor, support_place: Tensor
) -> Tensor:
    """Return how alike each place of a query is to the most similar place in a mask.

    The cosine similarity of deep features, less the squared distance in the body times `FALLOFF`, highest
    over the places that the mask covers, stretched to [0, 1] over each query.

    Args:
        query: float (n, channels, rows, columns).
        supports: float (n, channels, rows, columns).
        masks: float (n, rows', columns'): 1 in the structure.
        query_place: float (n, 2, rows, columns): x and y in the patient's box, from -1 to 1.
        support_place: The same of the supports.

    Returns:
        float (n, rows, columns) in [0, 1].
    """
    rows, columns = query.shape[2:]
    share = cells(masks, (supports.shape[2], supports.shape[3]))
    inside = share >= share.amax(dim=(1, 2), keepdim=True).clamp(max=0.5)
    q = functional.normalize(query.flatten(2), dim=1, eps=TINY)
    s = functional.normalize(supports.flatten(2), dim=1, eps=TINY)
    away = (support_place.flatten(2)[..., :, None] - query_place.flatten(2)[..., None, :]) ** 2
    similarity = torch.bmm(s.transpose(1, 2), q) - FALLOFF * away.sum(dim=1)
    similarity = similarity.masked_fill(~inside.flatten(1)[:, :, None], -torch.inf).amax(dim=1)
    low, high = similarity.amin(dim=1, keepdim=True), similarity.amax(dim=1, keepdim=True)
    return ((similarity - low) / (high - low + TINY)).reshape(-1, rows, columns)


def gram_matrix(features: Tensor) -> Tensor:
    """Return the cosine similarity of each two channels over all places: the style of a slice.

    Args:
        features: float (n, channels, rows, columns).

    Returns:
        float (n, channels, channels).
    """
    unit = functional.normalize(features.flatten(2), dim=2, eps=TINY)
    return torch.bmm(unit, unit.transpose(1, 2))


def style_distance(first: Tensor, second: Tensor) -> Tensor:
    """Return the Frobenius norm of the difference of Gram matrices, over their side; (n,) in [0, 1].

    Args:
        first: float (n, channels, channels) of features that are 0 or more.
        second: The same.
    """
    norms: Tensor = torch.linalg.vector_norm((first - second).flatten(1), dim=1)
    return norms / first.shape[-1]


def support_weights(distances: Tensor, scale: Tensor) -> Tensor:
    """Return how much each support counts: a softmax of the scaled distances of styles.

    Args:
        distances: float (batch, shots).
        scale: float (): learned; 0 for equal weights.
    """
    return (scale * distances).softmax(dim=1)
