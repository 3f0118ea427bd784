"""A small base model, trained from scratch on the synthetic reviews and kept in the cache folder.

It gives the quickstart something real to fine-tune on a machine without a network: a Llama of about 150,000
parameters that has learned to write such answers, all styles alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from cosdpo.data import synthetic_text as synthetic
from cosdpo.files import cache_folder, whole_folder
from cosdpo.training.loop import learning_rate_scale

DOCUMENTS = 24_000
BATCH_SIZE = 32
LEARNING_RATE = 5e-3
WIDTH = 64
LAYERS = 2


def synthetic_base() -> Path:
    """Folder of the base model in transformers' format; trained on the first call, in under a minute."""
    folder = cache_folder() / "synthetic-base-1"
    if (folder / "config.json").exists():
        return folder
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # matrices this small gain nothing from a second thread and lose much on a busy machine
    try:
        model = train_base()
    finally:
        torch.set_num_threads(threads)
    with whole_folder(folder) as temporary:
        synthetic.build_tokenizer().save_pretrained(str(temporary))
        model.save_pretrained(str(temporary))
    return folder


def train_base(documents: int = DOCUMENTS) -> Any:
    """A Llama trained on `documents` of the synthetic corpus, once over, by next-token prediction; seed 0."""
    from rich.console import Console  # here: a base is made once, and read without a progress bar
    from rich.progress import track

    torch.manual_seed(0)
    tokenizer = synthetic.build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=WIDTH // 32,
        num_key_value_heads=WIDTH // 32,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.1,  # at this width the default of 0.02 learns its facts several times slower
        pad_token_id=0,
    )
    model: Any = LlamaForCausalLM(config).train()
    texts = [f"{prompt} {response}{tokenizer.eos_token}" for prompt, response in synthetic.corpus(documents, 0)]
    rows_of_ids = tokenizer(texts)["input_ids"]
    steps = documents // BATCH_SIZE
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    for step in track(range(steps), "base model", console=Console(stderr=True)):
        rows = rows_of_ids[step * BATCH_SIZE : (step + 1) * BATCH_SIZE]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * learning_rate_scale(step, steps, 0.1)
        loss = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return model.eval()
