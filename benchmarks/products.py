"""Products with frozen float32 matrices: oneDNN's, which cosdpo takes where it can, against PyTorch's own.

    python benchmarks/products.py [--threads 1] [--repeats 7]

The matrices of a 124M GPT-2 and rows from one decoding step's to one training step's; both sides in turn, processor
time, best of the repeats. Prints a table of GFLOP/s; ends with one JSON line: the geometric mean of the ratios from 32
rows on, and whether this processor is one on which cosdpo takes oneDNN by itself (cosdpo/models/frozen_linear.py).
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import geometric_mean

import torch
from torch import Tensor
from torch.nn import functional as F

from cosdpo.models import frozen_linear

MATRICES = {"attention": (768, 2304), "up": (768, 3072), "down": (3072, 768), "head": (768, 50257)}
"""(inputs, outputs)."""
ROWS = (1, 8, 32, 128, 512, 2048)


def seconds(product: Callable[[], Tensor], repeats: int) -> float:
    """Processor time of one product, best of `repeats` measurements of about 20 ms."""
    product()
    began = time.process_time()
    product()
    number = max(1, round(0.02 / max(time.process_time() - began, 1e-6)))
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        for _ in range(number):
            product()
        best = min(best, (time.process_time() - began) / number)
    return best


@torch.inference_mode()
def main(repeats: int) -> None:
    """Measures and prints."""
    taken = frozen_linear.mkl_is_slow()
    ratios = []
    print(f"{'matrix':<12}{'rows':>6}{'PyTorch':>10}{'oneDNN':>10}{'ratio':>8}   GFLOP/s")
    for name, (inputs, outputs) in MATRICES.items():
        weight, bias = torch.randn(outputs, inputs), torch.randn(outputs)
        for rows in ROWS:
            if rows * outputs > 1 << 25:
                continue  # the head's logits are made in chunks
            x = torch.randn(rows, inputs)
            own = seconds(lambda x=x, w=weight, b=bias: F.linear(x, w, b), repeats)  # type: ignore[misc]
            other = seconds(lambda x=x, w=weight, b=bias: frozen_linear._onednn(x, w, b), repeats)  # type: ignore[misc]
            work = 2e-9 * rows * inputs * outputs
            print(f"{name:<12}{rows:>6}{work / own:>10.0f}{work / other:>10.0f}{own / other:>8.2f}")
            if rows >= 32:
                ratios.append(own / other)
    print(json.dumps({"onednn_vs_pytorch": round(geometric_mean(ratios), 3), "taken_here": taken}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    main(arguments.repeats)
