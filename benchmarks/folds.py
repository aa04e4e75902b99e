"""BAM on structures that training never saw: python benchmarks/folds.py [--work-folder out/folds].

Patients of btcv/train are trained on, those of btcv/val are tested. Each fold hides two structures. As in
the paper's protocol, their pixels are background in training: of the base learner, to which background means
"none of the base structures", and of episodes, where it means "not this structure". Pseudo-labels of
self-supervised episodes come from image gradients alone, so that no network which knows the hidden structures
plays a part.

In a test episode, query and supports are slices of different val patients that show the structure. Compared,
all on features of one backbone a fold and seed:

- bam: as `fewct segment --method bam` works: the region of mosaic that fits best, and those that BAM is all
  but sure of; the structure is there, so that no fit is too small;
- network: BAM as in the paper, which draws each pixel; base-less: its meta learner without the base learner;
- prototype: the mean of the support's deep features, with a threshold on the cosine similarity;
- region: the region of mosaic whose deep features are nearest to the prototype.

The shipped network of mosaic has been trained on all of these organs, without their names. So bam and region
are measured on regions of image gradients alone, too.

A run of a fold and seed that has ended is kept in the work folder, and not repeated.
"""

import csv
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch.nn import functional

from fewct.data.packed import ORGANS, as_hu
from fewct.io.atomic import atomic_path
from fewct.methods import Mosaic
from fewct.methods.bam.episodes import (
    Episodes,
    EpisodeSlice,
    draw_supports,
    episode_slice,
    slices_showing,
    without_structures,
)
from fewct.methods.bam.feature_matching import prototype
from fewct.methods.bam.method import FITS
from fewct.methods.bam.network import BAMNet, EncodedSlices
from fewct.methods.bam.preprocessing import frame_of, network_square, restore, square_labels, square_mask
from fewct.methods.bam.recipe import BAMRecipe, train
from fewct.methods.bam.region_matching import (
    match_regions,
    match_scores,
    mean_in_regions,
    merge_regions,
    region_features,
    support_features,
)
from fewct.runtime.threads import thread_count
from fewct.training.loop import LoopConfig
from fewct.types import CTSlice, Image, Labels, Mask
from organs import DATA
from prototypes import best_threshold, cosine_map, dice, nearest_region
from results_io import RESULTS, machine, save_results

FOLDS = (
    ("liver", "right kidney"),
    ("spleen", "left kidney"),
    ("stomach", "aorta"),
    ("pancreas", "gallbladder"),
)
ANNOTATED = [ORGANS[name] for fold in FOLDS for name in fold]
METHODS = ("bam", "network", "base-less", "prototype", "region", "bam, gradients", "region, gradients")
GAINS = (*(("bam", name) for name in METHODS[1:5]), ("bam, gradients", "region, gradients"))
SHOTS = (1, 5)
QUERIES, POOL = 5, 8  # slices of a patient and structure: queries, and those that supports are drawn from
MIN_TEST_PX = 100  # of the structure on a test slice; the official code leaves out small ones, too
STEP = 2  # every n-th slice of the training patients
DRAWS = 10_000  # of patients, for intervals
CALIBRATION = 60  # training episodes that the threshold of the prototype is chosen on


@dataclass(frozen=True)
class Options:
    """Train and test each fold with several seeds."""

    steps: int = 1200
    """Of a training, both stages."""
    seeds: int = 3
    """Trainings a fold."""
    folds: tuple[int, ...] = (0, 1, 2, 3)
    """Which folds."""
    work_folder: Path = Path("out/folds")
    """Where finished runs are kept."""
    out: Path = RESULTS / "folds.csv"
    """File for the results."""


def recipe_of(steps: int, seed: int) -> BAMRecipe:
    """Return how a fold is trained."""
    loop = LoopConfig(
        steps=steps,
        budget_minutes=1e4,
        batch_size=4,
        learning_rate=2e-3,
        warmup_steps=30,
        ema_decay=0.98,
        validate_every=500,
        seed=seed,
        workers=0,
    )
    return BAMRecipe(scanner=False, loop=loop)


def load(side: str, step: int, with_regions: bool) -> list[EpisodeSlice]:
    """Return the slices of one side; on demand with regions that gradients alone tell apart."""
    method = Mosaic(boundary_source="gradients")
    slices = []
    for path in sorted((DATA / "btcv" / side).glob("*.npz")):
        with np.load(path) as file:
            images, labels = file["image"][::step], file["label"][::step]
        for pixels, label in zip(images, labels, strict=True):
            image = CTSlice(as_hu(pixels), "hu")
            regions = method.load().segment(image).labels if with_regions else None
            slices.append(episode_slice(image, label.astype(np.int32), path.stem, regions))
    return slices


@dataclass(frozen=True, eq=False)
class Seen:
    """A test slice with what the network keeps of it."""

    one: EpisodeSlice
    encoded: EncodedSlices
    size_px: int

    def mask(self, structure: int) -> torch.Tensor:
        """Return a structure on the network's square, (1, size, size)."""
        frame = frame_of(self.one.example.body, self.size_px)
        return torch.from_numpy(square_mask(self.one.example.labels == structure, frame, self.size_px))[None]

    def placed(self, values: torch.Tensor) -> Image:
        """Return a map of any resolution on the slice's own grid."""
        square = enlarged(values[None], self.size_px)[0].numpy()
        body = self.one.example.body
        return restore(square, frame_of(body, self.size_px), body.shape)


class Encoder:
    """Encodes slices, each of them once."""

    def __init__(self, network: BAMNet, slices: Sequence[EpisodeSlice], size_px: int) -> None:
        self.network, self.slices, self.size_px = network, slices, size_px
        self.kept: dict[int, Seen] = {}

    def __getitem__(self, number: int) -> Seen:
        if number not in self.kept:
            one = self.slices[number]
            image = CTSlice(one.example.pixels, one.example.unit)
            channels = torch.from_numpy(network_square(image, one.example.body, self.size_px))
            with torch.no_grad():
                self.kept[number] = Seen(one, self.network.encode(channels[None]), self.size_px)
        return self.kept[number]


@dataclass(frozen=True)
class TestEpisode:
    """Numbers of the slices of a test episode."""

    structure: int
    query: int
    supports: tuple[int, ...]


def test_episodes(
    slices: Sequence[EpisodeSlice], structures: Sequence[int], seed: int
) -> Iterator[TestEpisode]:
    """Yield the test episodes: queries spread over each patient, supports drawn from the others."""
    rng = np.random.default_rng(seed)
    for structure, places in slices_showing(slices, structures, MIN_TEST_PX).items():
        by_patient = {
            patient: places[[slices[k].patient == patient for k in places]]
            for patient in sorted({f"{slices[k].patient}" for k in places})
        }
        pool = np.concatenate([spread(mine, POOL) for mine in by_patient.values()])
        for mine in by_patient.values():
            for query in spread(mine, QUERIES).tolist():
                for shots in SHOTS:
                    supports = draw_supports(slices, pool, query, shots, rng)
                    yield TestEpisode(structure, query, tuple(supports))


def spread(values: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return up to n values at even distances, the first and the last one from within."""
    return values[np.unique(((np.arange(n) + 0.5) * len(values) / n).astype(int))]


def answers(
    network: BAMNet, encoder: Encoder, episode: TestEpisode, threshold: float, kinds: Mapping[str, Labels]
) -> dict[str, Mask]:
    """Return what each method finds in an episode, with regions of mosaic and of gradients."""
    query, supports = encoder[episode.query], [encoder[k] for k in episode.supports]
    masks = torch.cat([one.mask(episode.structure) for one in supports])
    theirs = EncodedSlices(*map(torch.cat, zip(*(one.encoded for one in supports), strict=True)))
    with torch.no_grad():
        answer = network.decode(query.encoded, theirs, masks[None])
    mean, deep = prototype(theirs.deep, masks).mean(dim=0), query.encoded.deep[0]
    likely = answer.final.softmax(dim=1)[0, 1]
    found = {
        "network": query.placed(likely) >= 0.5,
        "base-less": query.placed(answer.meta.softmax(dim=1)[0, 1]) >= 0.5,
        "prototype": query.placed(cosine_map(deep, mean)) >= threshold,
    }
    frame, size_px = frame_of(query.one.example.body, query.size_px), query.size_px
    known = support_features(theirs.deep.numpy(), theirs.place.numpy(), masks.numpy())
    for suffix, regions in kinds.items():
        squared = square_labels(regions, frame, size_px)
        there = region_features(squared, deep.numpy(), query.encoded.place[0].numpy())
        likely_there = mean_in_regions(squared, enlarged(likely[None], size_px)[0].numpy())[None]
        owners = merge_regions(
            match_regions(match_scores(there, likely_there[0], known)[None], FITS[0]), likely_there
        )
        nearest = nearest_region(deep.numpy(), squared, mean.numpy())
        found[f"bam{suffix}"] = np.isin(regions, there.ids[owners == 0])
        found[f"region{suffix}"] = (regions == nearest) & (nearest > 0)
    return found


def enlarged(features: torch.Tensor, size_px: int) -> torch.Tensor:
    """Return features (channels, rows, columns) on the network's square, linear in between."""
    return functional.interpolate(features[None], size=(size_px, size_px), mode="bilinear")[0]


def prototype_threshold(network: BAMNet, episodes: Episodes) -> float:
    """Return the threshold of the prototype that training episodes of base structures like best."""
    maps, targets = [], []
    for number in range(len(episodes)):
        episode = episodes[number]
        if not (episode.target == 1).any() or not episode.masks.any():
            continue
        with torch.no_grad():
            query, support = network.encode(episode.query[None]), network.encode(episode.supports)
        mean = prototype(support.deep, episode.masks).mean(dim=0)
        maps.append(enlarged(cosine_map(query.deep[0], mean)[None], episodes.size_px)[0].numpy())
        targets.append((episode.target == 1).numpy())
    return best_threshold(maps, targets)


def run(
    fold: int, seed: int, options: Options, kinds: Mapping[str, "Regions"], data: "Data"
) -> list[dict[str, object]]:
    """Train and test a fold with one seed; return one row an episode and method."""
    novel = [ORGANS[name] for name in FOLDS[fold]]
    base = [structure for structure in ANNOTATED if structure not in novel]
    recipe = recipe_of(options.steps, seed)
    training = without_structures(data.training, novel)
    folder = options.work_folder / f"training_{fold}_{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    network = train(recipe, training, base, folder).float().eval()
    support_features = Episodes(training, base, 1, recipe.size_px, CALIBRATION, seed + 2, 0.0, recipe.scanner)
    threshold = prototype_threshold(network, support_features)
    encoder = Encoder(network, data.test, recipe.size_px)
    rows: list[dict[str, object]] = []
    for episode in test_episodes(data.test, novel, seed):
        one = data.test[episode.query]
        truth = one.example.labels == episode.structure
        here = {suffix: regions[episode.query] for suffix, regions in kinds.items()}
        found = answers(network, encoder, episode, threshold, here)
        known = {"fold": fold, "seed": seed, "structure": episode.structure, "patient": one.patient}
        known |= {"query": episode.query, "shots": len(episode.supports)}
        rows += [known | {"method": name, "dice": f"{dice(found[name], truth):.4f}"} for name in METHODS]
    shutil.rmtree(folder)
    return rows


@dataclass(frozen=True)
class Data:
    """Slices to train on and to test on."""

    training: list[EpisodeSlice]
    test: list[EpisodeSlice]


class Regions:
    """Mosaic's label maps of test slices, each kept in a folder once it is there."""

    def __init__(self, method: Mosaic, slices: Sequence[EpisodeSlice], folder: Path) -> None:
        self.method, self.slices, self.folder = method, slices, folder
        folder.mkdir(parents=True, exist_ok=True)

    def __getitem__(self, number: int) -> Labels:
        path = self.folder / f"{number:04d}.npz"
        if not path.exists():
            example = self.slices[number].example
            labels = self.method.load().segment(CTSlice(example.pixels, example.unit)).labels
            with atomic_path(path) as temporary:
                np.savez_compressed(temporary, labels=labels)
        with np.load(path) as file:
            return np.asarray(file["labels"], dtype=np.int32)


def kept_run(
    fold: int, seed: int, options: Options, kinds: Mapping[str, Regions], data: Data
) -> list[dict[str, object]]:
    """Return the rows of a run, from the work folder if it has ended before."""
    path = options.work_folder / f"dice_{fold}_{seed}_{options.steps}steps.csv"
    if not path.exists():
        rows = run(fold, seed, options, kinds, data)
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def summary(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return mean Dice coefficients with 95 % intervals over patients, a fold and of all, and BAM's gains."""
    patients = sorted({f"{row['patient']}" for row in rows})
    folds = sorted({int(f"{row['fold']}") for row in rows})
    found: list[dict[str, object]] = []
    for shots in SHOTS:
        cells = {name: cell_sums(rows, name, shots, folds, patients) for name in METHODS}
        gains = {f"{ours} - {theirs}": (cells[ours], cells[theirs]) for ours, theirs in GAINS}
        for position in (*range(len(folds)), slice(None)):
            label = "mean of folds" if isinstance(position, slice) else " + ".join(FOLDS[folds[position]])
            for name, (sums, counts) in cells.items():
                values = means_of(sums, counts, position)
                found.append(row_of(label, shots, name, counts[position].sum(), values))
            for name, (ours, theirs) in gains.items():
                values = means_of(*ours, position) - means_of(*theirs, position)
                found.append(row_of(label, shots, name, ours[1][position].sum(), values))
    return found


def cell_sums(
    rows: Sequence[Mapping[str, object]],
    method: str,
    shots: int,
    folds: Sequence[int],
    patients: Sequence[str],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sums and counts of the Dice coefficients of a method, (folds, patients)."""
    sums, counts = np.zeros((2, len(folds), len(patients)))
    for row in rows:
        if row["method"] == method and int(f"{row['shots']}") == shots:
            place = folds.index(int(f"{row['fold']}")), patients.index(f"{row['patient']}")
            sums[place] += float(f"{row['dice']}")
            counts[place] += 1
    return sums, counts


def means_of(
    sums: NDArray[np.float64], counts: NDArray[np.float64], position: int | slice
) -> NDArray[np.float64]:
    """Return the mean of a fold, or the mean of the folds': of all patients, then of each draw."""
    n = sums.shape[1]
    drawn = np.random.default_rng(0).integers(0, n, (DRAWS, n))
    drawn = np.concatenate([np.arange(n)[None], drawn])
    means = sums[:, drawn].sum(axis=-1) / counts[:, drawn].sum(axis=-1)
    chosen: NDArray[np.float64] = np.atleast_2d(means[position]).mean(axis=0)
    return chosen


def row_of(fold: str, shots: int, method: str, n: float, values: NDArray[np.float64]) -> dict[str, object]:
    """Return one row of the table."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    row: dict[str, object] = {"novel": fold, "shots": shots, "method": method, "episodes": int(n)}
    return row | {"dice": f"{values[0]:.4f}", "low": f"{low:.4f}", "high": f"{high:.4f}"}


def main() -> None:
    options = tyro.cli(Options)
    torch.set_num_threads(thread_count())
    data = Data(load("train", STEP, with_regions=True), load("val", 1, with_regions=False))
    kinds = {
        "": Regions(Mosaic(), data.test, options.work_folder / "regions"),
        ", gradients": Regions(
            Mosaic(boundary_source="gradients"), data.test, options.work_folder / "gradients"
        ),
    }
    command = f"python benchmarks/folds.py --steps {options.steps} --seeds {options.seeds}"
    print(machine())
    rows: list[Mapping[str, object]] = []
    for seed in range(options.seeds):
        for fold in options.folds:
            rows += kept_run(fold, seed, options, kinds, data)
            for row in summary(rows):
                if row["novel"] == "mean of folds" or row["novel"] == " + ".join(FOLDS[fold]):
                    print(f"fold {fold}, seed {seed}:", *row.values(), flush=True)
    save_results(options.out, summary(rows), command)


if __name__ == "__main__":
    main()
