"""One part of benchmarks/gpu.py: its device, its time, its lines and figures, its clock and its peaks."""

from __future__ import annotations

import gc
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch

Result = TypeVar("Result")


@dataclass
class GpuPart:
    """A part of the measurement, in a process of its own."""

    name: str
    device: torch.device
    tiny: bool
    ends: float
    """time.monotonic() by which it should be done."""
    file: Path | None = None
    """Takes the figures as they are found, a JSON line at a time, so that they outlive the process."""
    figures: dict[str, float | str | bool] = field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.ends - time.monotonic()

    def tell(self, text: str, **figures: float | str | bool) -> None:
        """Prints a line and keeps its figures, four digits of each."""
        print(f"{self.name:12s} {text}", flush=True)
        kept = {key: float(f"{x:.4g}") if isinstance(x, float) else x for key, x in figures.items()}
        self.figures |= kept
        if self.file is not None and kept:
            with self.file.open("a") as file:
                file.write(json.dumps(kept) + "\n")

    def attempt(self, name: str, run: Callable[[], Result], seconds: float = 0.0) -> Result | None:
        """What one case returns; one that fails prints a line, and what it held is freed either way.

        Args:
            seconds: the case is left out when less is left.
        """
        began = time.monotonic()
        try:
            if self.left < seconds:
                raise TimeoutError(f"{self.left:.0f} s are left, it wants {seconds:.0f}")
            return run()
        except Exception as error:  # whatever a device or library raises; the line says what
            reason = (str(error).strip() or "no message").splitlines()[0][:200]
            self.tell(f"{name} FAILED after {time.monotonic() - began:.1f} s: {type(error).__name__}: {reason}")
            return None
        finally:
            gc.collect()
            if self.on_gpu:
                torch.cuda.empty_cache()

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def seconds(
        self,
        run: Callable[[], object],
        repeats: int = 5,
        warm: int = 1,
        of: Callable[[list[float]], float] = median,
    ) -> float:
        """Seconds of one `run`, the median (or what `of` takes) of `repeats` after `warm` others; fewer where time runs
        out.
        """
        for _ in range(warm):
            run()
        times: list[float] = []
        while len(times) < repeats and (not times or self.left > times[-1]):
            self.wait()
            began = time.perf_counter()
            run()
            self.wait()
            times.append(time.perf_counter() - began)
        return of(times)

    def reset_memory(self) -> None:
        """Begins to watch the largest memory anew."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)

    def memory(self) -> int:
        """Bytes of the device in use at most since `reset_memory`; on a CPU, the process's largest resident set."""
        if self.on_gpu:
            return int(torch.cuda.max_memory_allocated(self.device))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def matmul_peak(self) -> float:
        """FLOP/s of a square bfloat16 matrix product of random numbers: ten in a row, best of three."""
        n = 256 if self.tiny else 8192
        a, b = (torch.randn(n, n, device=self.device, dtype=torch.bfloat16) for _ in range(2))

        def ten() -> None:
            for _ in range(10):
                torch.mm(a, b)

        return 2 * n**3 * 10 / self.seconds(ten, 3, of=min)

    def copy_bandwidth(self) -> float:
        """Bytes/s that a copy within the device's memory reads and writes, best of three."""
        source = torch.empty((1 << 20) if self.tiny else (4 << 30), dtype=torch.uint8, device=self.device).random_()
        target = torch.empty_like(source)
        return 2 * source.numel() / self.seconds(lambda: target.copy_(source), 3, of=min)

    def tell_device(self) -> None:
        """Prints what this is measured on."""
        import peft
        import transformers

        name = torch.cuda.get_device_name(self.device) if self.on_gpu else "CPU"
        versions = f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"
        memory = torch.cuda.get_device_properties(self.device).total_memory / 1e9 if self.on_gpu else 0.0
        self.tell(f"{name}, {memory:.0f} GB; {versions}", device=name, versions=versions)
