"""The part of benchmarks/vllm.py that runs in vLLM's own environment: times vLLM on the same prompts.

Reads a job as JSON from standard input; writes a line `seconds SECONDS` per run, after one that warms up.
"""

import json
import os
import sys
import time


def main() -> None:
    """One engine, on the cores that the job names."""
    job = json.load(sys.stdin)
    os.sched_setaffinity(0, job["cores"])
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = "4"
    os.environ["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, job["cores"]))
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    prompts = [{"prompt_token_ids": ids} for ids in job["prompts"]]
    adapters = [LoRARequest(f"point-{i}", i + 1, path) for i, path in enumerate(job["adapters"])]
    slots = {"enable_lora": True, "max_lora_rank": 8, "max_loras": len(adapters)} if adapters else {}
    engine = LLM(
        job["base"],
        dtype=job["dtype"],
        enforce_eager=job["eager"],
        max_num_seqs=len(prompts),
        max_model_len=len(job["prompts"][0]) + job["tokens"],
        enable_prefix_caching=False,  # each run encodes its prompts
        **slots,
    )
    greedy = SamplingParams(temperature=0.0, max_tokens=job["tokens"], ignore_eos=True)
    loras = [adapters[i % len(adapters)] for i in range(len(prompts))] if adapters else None
    for repeat in range(job["repeats"] + 1):
        began = time.perf_counter()
        answers = engine.generate(prompts, greedy, lora_request=loras, use_tqdm=False)
        seconds = time.perf_counter() - began
        made = sum(len(answer.outputs[0].token_ids) for answer in answers)
        if made != len(prompts) * job["tokens"]:
            raise SystemExit(f"vLLM made {made} tokens")
        if repeat:
            print("seconds", seconds, flush=True)


if __name__ == "__main__":  # vLLM starts processes that import this file again
    main()
