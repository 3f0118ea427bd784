"""How the workers of a run share the model: `scaling.strategy`.

| strategy | frozen base | trained tensors | gradients, moments |
|---|---|---|---|
| one worker | whole | whole | whole |
| ddp | whole on every worker | whole | averaged by DistributedDataParallel |
| fsdp | decoder layers in parts, gathered layer by layer | whole | averaged in one all-reduce |
| deepspeed | whole (ZeRO-1, 2) or in parts (ZeRO-3) | whole | moments, from ZeRO-2 on gradients too, in parts |

The base is frozen and is what fills memory; all that is trained is a few percent of it. So what is trained stays a
plain tensor under every strategy, and checkpoints do not depend on it: a run saved under one goes on under another.
"""
