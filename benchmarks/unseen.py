"""How well are structures found that training has never seen? python benchmarks/unseen.py.

The network was trained with four organs hidden: left unlabelled on patients, their dense segments removed,
and left out of the anatomies that synthetic CT is drawn on (1001 steps on one core):

    fewct train mosaic --data DATA --without spleen "left kidney" aorta stomach \
        --no-self-training --ema-decay 0.996 --validate-every 100 --budget-minutes 27 -o DIR

Organs differ in how hard they are, so the network that comes with fewct, which has seen them all, is measured
on the same slices beside it.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from fewct.data.packed import ORGANS
from fewct.methods import Mosaic
from organs import OrganScore, mean_and_interval, organ_scores, val_cases
from results_io import RESULTS, machine, save_results

NEVER_SAW_FOUR = Path(__file__).parent / "weights" / "never_saw_four.onnx"
HIDDEN = ("spleen", "left kidney", "aorta", "stomach")


@dataclass(frozen=True)
class Options:
    """Measure seen and unseen organs on val."""

    weights: Path = NEVER_SAW_FOUR
    """Training folder or exported network that has never seen the four organs."""


def rows_of(network: str, scores: list[OrganScore]) -> list[dict[str, object]]:
    """Return one row for the organs that are seen, one for those hidden, and one for each organ."""
    hidden = [ORGANS[name] for name in HIDDEN]
    groups = {"the others": [number for number in ORGANS.values() if number not in hidden]}
    groups |= {"the four": hidden} | {name: [number] for name, number in ORGANS.items()}
    rows: list[dict[str, object]] = []
    for name, organs in groups.items():
        mean, low, high = mean_and_interval(scores, organs)
        count = sum(score.organ in organs for score in scores)
        rows.append(
            {
                "network": network,
                "organs": name,
                "mean_best_iou": f"{mean:.4f}",
                "low": f"{low:.4f}",
                "high": f"{high:.4f}",
                "n": count,
            }
        )
    return rows


def main() -> None:
    options = tyro.cli(Options)
    cases = val_cases()
    rows = rows_of("never saw the four", organ_scores(Mosaic(weights=f"{options.weights}"), cases))
    rows += rows_of("saw all", organ_scores(Mosaic(), cases))
    score = {(row["network"], row["organs"]): float(str(row["mean_best_iou"])) for row in rows}
    unseen, seen = score["never saw the four", "the four"], score["never saw the four", "the others"]
    print(machine())
    for row in rows:
        print(
            f"{row['network']:20}{row['organs']:26}{row['mean_best_iou']:>8}  [{row['low']}, {row['high']}]"
        )
    print(f"unseen / seen: {unseen / seen:.3f} (goal 0.85)")
    print(f"unseen / the same organs, seen: {unseen / score['saw all', 'the four']:.3f}")
    save_results(RESULTS / "unseen.csv", rows, "python benchmarks/unseen.py")


if __name__ == "__main__":
    main()
