"""Training speed and memory of this trainer against TRL's DPOTrainer, and against the machine's own GEMM peak.

    python benchmarks/training.py [--pairs 32] [--repeats 2] [--batch 8]

A GPT-2 of 124M random weights with the real 50,257-token vocabulary, Anthropic HH pairs cut to 256 tokens, LoRA of rank
8 on every linear module, one thread, the same pairs in batches of similar length on both sides, reference scores known
beforehand on both sides. Each side runs in a process of its own, the sides in turn; medians over the repeats. TRL runs
in float32 and in bfloat16 and is counted at its best. Needs trl (extra `bench`) and models/gpt2-tokenizer and
data/hh, in the folder that $COSDPO_TEST_DATA names or in `shared` beside the project. Prints a table; ends with one
JSON line.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
RANK = 8
TARGETS = ["c_attn", "c_proj", "c_fc"]
LONGEST = 256
SIDES = {
    "ours, response": ["--side", "ours", "--scope", "response"],
    "ours, sequence": ["--side", "ours", "--scope", "sequence"],
    "trl": ["--side", "trl"],
}


def memory(key: str) -> float:
    """A line of /proc/self/status in MB: VmRSS now, VmHWM its peak."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {key} in /proc/self/status")


def gemm_peak(dtype: "torch.dtype") -> float:
    """FLOP/s of a 2048-cubed matrix product by the kernels that training takes, best of five."""
    from cosdpo.models.frozen_linear import linear

    a, times = torch.randn(2048, 2048, dtype=dtype), []
    for _ in range(5):
        began = time.perf_counter()
        linear(a, a)
        times.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(times)


def data_folder(*wanted: str) -> Path:
    """The folder with the paths that are wanted: $COSDPO_TEST_DATA, or `shared` beside the project."""
    project = Path(__file__).resolve().parents[1]
    # As the tests read it: a path that is not absolute counts from the project, wherever the script was started.
    folder = (project / os.environ.get("COSDPO_TEST_DATA", "../shared")).resolve()
    if lacking := [part for part in wanted if not (folder / part).exists()]:
        sys.exit(f"error: looked for {lacking[0]} in {folder}; set COSDPO_TEST_DATA to the folder that holds it")
    return folder


def pairs(count: int, batch: int) -> tuple[list[dict[str, str]], list["TokenizedContext"], "PreTrainedTokenizerBase"]:
    """`count` HH pairs as text and as tokens, in groups of `batch` neighbours in length, spread over all lengths."""
    from cosdpo.data.sources import load
    from cosdpo.data.tokenization import tokenize

    root = data_folder("models/gpt2-tokenizer", "data/hh")
    folder = root / "models" / "gpt2-tokenizer"
    tokenizer = GPT2TokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.pad_token = tokenizer.eos_token
    files = ",".join(f"{name}={root}/data/hh/{name}.test.json" for name in ("helpful", "harmless"))
    data = DataConfig(max_length=LONGEST, prompt_too_long="drop")
    preferences = load(files, ["helpful", "harmless"], data, None)
    tokens = tokenize(preferences, tokenizer, data, LONGEST)
    order = np.argsort([c.tokens for c in tokens.contexts], kind="stable")
    starts = np.linspace(0, len(order) - batch, count // batch + 2)[1:-1].round().astype(int)
    chosen = [int(i) for start in starts for i in order[start : start + batch]]
    texts = []
    for i in chosen:
        row = tokens.rows[i]
        labels = next(s for s in preferences.scores(row) if s is not None)
        good, bad = sorted(zip(labels, preferences.candidates(row), strict=True), reverse=True)
        texts.append({"prompt": preferences.context(row), "chosen": good[1], "rejected": bad[1]})
    return texts, [tokens.contexts[i] for i in chosen], tokenizer


def useful_flops(contexts: list["TokenizedContext"], scope: str) -> float:
    """Multiplications and additions that one step over `contexts` needs.

    The frozen body takes two per weight and token forward and two for the gradient of its input; LoRA's own products
    and attention are left out, so the share of the peak is understated. Prompts under scope `response` go forward only.
    The head takes two per weight and response token for the logits and two for the gradient of the hidden states.
    """
    body, head, total = 12 * 12 * 768**2, 50257 * 768, 0.0
    for c in contexts:
        inputs = sum(len(y) - 1 for y in c.candidates)
        frozen, tuned = (len(c.prompt) - 1, inputs + 1) if scope == "response" else (0, inputs + len(c.prompt))
        total += 2 * body * (frozen + 2 * tuned) + 4 * head * sum(map(len, c.candidates))
    return total


def ours(scope: str, bf16: bool, count: int, batch: int) -> dict[str, float]:
    """Our training loop with two objectives, every pair labelled for both."""
    from cosdpo.config import Config
    from cosdpo.data.batching import PreferenceData
    from cosdpo.models.base import freeze
    from cosdpo.models.language_scorer import LanguageScorer
    from cosdpo.models.packing import ATTENTION
    from cosdpo.training.loop import optimizer_for, train
    from cosdpo.training.training_state import Clock

    _, contexts, _ = pairs(count, batch)
    imported = memory("VmRSS")
    dtype = torch.bfloat16 if bf16 else torch.float32
    shape = GPT2Config(activation_function="gelu_pytorch_tanh")  # as load_base sets it
    base = freeze(GPT2LMHeadModel._from_config(shape, attn_implementation=ATTENTION)).to(dtype)
    config = Config.model_validate(
        {
            "objectives": ["helpful", "harmless"],
            "scope": scope,
            "model": {"base": "gpt2", "lora_rank": RANK, "lora_targets": TARGETS, "adapt_ends": False},
            "training": {"steps": count // batch, "batch_size": batch, "log_every": 10_000, "checkpoint_every": 10_000},
        }
    )
    scorer = LanguageScorer.create(config, base)
    scores = [[[1.0, 0.0], [0.0, 1.0]]] * len(contexts)
    data = PreferenceData(contexts, scores, [np.zeros(2)] * len(contexts), config.data)
    optimizer = optimizer_for(scorer, config)
    warm = config.changed({"training.steps": 1})
    arguments = (lambda line: None, lambda clock: None)
    train(scorer, data, warm, optimizer, Clock(), *arguments)
    Path("/proc/self/clear_refs").write_text("5")
    clock = train(scorer, data, config, optimizer, Clock(), *arguments)
    peak = memory("VmHWM") - imported
    rate = count / clock.seconds
    share = useful_flops(contexts, scope) / clock.seconds / gemm_peak(dtype)
    return {"pairs_per_second": rate, "labels_per_second": 2 * rate, "memory": peak, "gemm_share": share}


def trl(bf16: bool, count: int, batch: int) -> dict[str, float]:
    """TRL's DPOTrainer with precomputed references, one objective."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer

    class Timer(TrainerCallback):
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_step_begin(self, *_: object, **__: object) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *_: object, **__: object) -> None:
            self.times.append(time.perf_counter() - self.began)

    texts, _, tokenizer = pairs(count, batch)
    imported = memory("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        GPT2LMHeadModel(GPT2Config()).save_pretrained(f"{folder}/model")
        tokenizer.save_pretrained(f"{folder}/model")
        settings = DPOConfig(
            output_dir=f"{folder}/out",
            use_cpu=True,
            bf16=bf16,
            gradient_checkpointing=False,
            per_device_train_batch_size=batch,
            precompute_ref_log_probs=True,
            precompute_ref_batch_size=batch,
            max_length=LONGEST,
            train_sampling_strategy="sequential",
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
            num_train_epochs=1,
            model_init_kwargs={"dtype": "bfloat16" if bf16 else "float32", "attn_implementation": "sdpa"},
        )
        lora = LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS, task_type="CAUSAL_LM", fan_in_fan_out=True)
        timer = Timer()
        trainer = DPOTrainer(
            model=f"{folder}/model",
            args=settings,
            train_dataset=Dataset.from_list(texts),
            processing_class=tokenizer,
            peft_config=lora,
            callbacks=[timer],
        )
        whole = trainer.train_dataset
        trainer.train_dataset, trainer.args.max_steps = whole.select(range(batch)), 1
        trainer.train()
        timer.times.clear()
        Path("/proc/self/clear_refs").write_text("5")
        trainer.train_dataset, trainer.args.max_steps = whole, -1
        trainer.train()
        rate = count / sum(timer.times)
        return {"pairs_per_second": rate, "labels_per_second": rate, "memory": memory("VmHWM") - imported}


def measure(arguments: list[str]) -> dict[str, float]:
    """One side in a process of its own."""
    command = [sys.executable, __file__, *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        sys.exit(finished.stderr[-2000:])
    result: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return result


def compare(options: argparse.Namespace) -> None:
    """All sides in turn, medians, ratios."""
    rows: dict[str, list[dict[str, float]]] = {}
    common = ["--pairs", str(options.pairs), "--batch", str(options.batch)]
    for _ in range(options.repeats):
        for name, arguments in SIDES.items():
            for precision in ("float32", "bfloat16"):
                flags = [*arguments, *common, *(["--bf16"] if precision == "bfloat16" else [])]
                rows.setdefault(f"{name}, {precision}", []).append(measure(flags))
    table = {name: {key: median(run[key] for run in runs) for key in runs[0]} for name, runs in rows.items()}
    for name, row in table.items():
        print(f"{name:26s}" + "  ".join(f"{key} {value:.3g}" for key, value in row.items()))
    best_trl = max((row for name, row in table.items() if name.startswith("trl")), key=lambda r: r["pairs_per_second"])
    best = max((row for name, row in table.items() if "response" in name), key=lambda r: r["pairs_per_second"])
    print(
        json.dumps(
            {
                "pairs_vs_trl": round(best["pairs_per_second"] / best_trl["pairs_per_second"], 3),
                "labels_vs_trl": round(best["labels_per_second"] / best_trl["labels_per_second"], 3),
                "memory_vs_trl": round(best["memory"] / best_trl["memory"], 3),
                "gemm_share": round(best["gemm_share"], 3),
            }
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--side", choices=["ours", "trl"], help="measure one side in this process")
    parser.add_argument("--scope", choices=["response", "sequence"], default="response")
    parser.add_argument("--bf16", action="store_true")
    options = parser.parse_args()
    if options.side is None:
        compare(options)
        sys.exit()

    import numpy as np
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast, PreTrainedTokenizerBase

    from cosdpo.config import DataConfig
    from cosdpo.data.tokenization import TokenizedContext

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if options.side == "ours":
        figures = ours(options.scope, options.bf16, options.pairs, options.batch)
    else:
        figures = trl(options.bf16, options.pairs, options.batch)
    print(json.dumps(figures))
