"""The embedding learns by itself to tell structures apart, and only while it is trained."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from fewct.methods.sam.finetuning.dataset import PromptBatch, PromptSampling, sample_prompts
from fewct.methods.sam.finetuning.embedding_loss import FEATURES, PixelSimilarityHead
from fewct.methods.sam.finetuning.recipe import make_losses, trained_network
from fewct.methods.sam.finetuning.trainable import TrainableSam
from fewct.methods.sam.modeling.mask_decoder import DecoderShape
from fewct.methods.sam.modeling.sam import Sam, SamShape
from fewct.methods.sam.modeling.small_encoder import SmallShape
from fewct.training.sampling import collate_batches

PX, WIDTH = 32, 16
SHAPE = SamShape(SmallShape((4, 8, 8), WIDTH), DecoderShape(width=WIDTH, heads=2, hidden=16, score_hidden=16))


def prompts() -> PromptBatch:
    rng = np.random.default_rng(0)
    labels = np.kron(np.array([[1, 2], [3, 0]], dtype=np.int32), np.ones((PX // 2, PX // 2), dtype=np.int32))
    seen = torch.from_numpy(rng.normal(size=(2, 2, PX, PX)).astype(np.float32))
    items = [sample_prompts(x, labels, PromptSampling(3, 0.5, 1.0), rng, i) for i, x in enumerate(seen)]
    return collate_batches(items, 2)[0]


@torch.no_grad()
def test_logits_are_cosines_with_the_mean_of_the_structure() -> None:
    torch.manual_seed(0)
    head = PixelSimilarityHead(WIDTH)
    embedding = torch.randn(2, WIDTH, 3, 3)
    targets = (torch.rand(2, 4, 12, 12) > 0.7).float()
    found = head(embedding, targets).numpy()
    weight, bias = head.features.weight[:, :, 0, 0].numpy(), head.features.bias
    assert bias is not None
    for image in range(2):
        finer = np.zeros((12, 12, FEATURES))
        for y in range(12):
            for x in range(12):  # sub-pixel (i, j) of channel c is channel 16 c + 4 i + j of the convolution
                place = embedding[image, :, y // 4, x // 4].numpy()
                values = weight @ place + bias.numpy()
                finer[y, x] = values[4 * (y % 4) + x % 4 :: 16]
        finer /= np.linalg.norm(finer, axis=2, keepdims=True)
        for structure in range(4):
            mean = finer[targets[image, structure].numpy() > 0].mean(axis=0)
            cosines = finer @ mean / np.linalg.norm(mean)
            assert found[image, structure] == pytest.approx(10 * (cosines - 0.5), abs=1e-4)


def test_the_embedding_learns_to_tell_structures_apart() -> None:
    torch.manual_seed(0)
    batch = prompts()
    network = TrainableSam(
        Sam(SHAPE, PX), "all", correction_prompts=0, similarity_head=PixelSimilarityHead(WIDTH)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    values = []
    for _ in range(40):
        loss: Tensor = make_losses("cross-entropy")(network, batch)["similarity"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.3 * values[0]


def test_a_batch_without_structures_teaches_nothing() -> None:
    batch = prompts()
    network = TrainableSam(
        Sam(SHAPE, PX), "all", correction_prompts=2, similarity_head=PixelSimilarityHead(WIDTH)
    )
    values = make_losses("cross-entropy")(network, batch._replace(valid=torch.zeros_like(batch.valid)))
    assert set(values) == {"masks", "scores", "similarity"}
    assert float(torch.stack(list(values.values())).sum().detach()) == 0.0


def test_what_is_kept_is_a_network_as_before() -> None:
    sam = Sam(SHAPE, PX)
    names = set(sam.state_dict())
    network = TrainableSam(
        copy.deepcopy(sam), "all", correction_prompts=0, similarity_head=PixelSimilarityHead(WIDTH)
    )
    assert any("similarity_head" in name for name in network.state_dict())
    assert set(trained_network(network, sam).state_dict()) == names
