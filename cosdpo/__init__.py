"""Conditioned one-shot multi-objective fine-tuning (COS-DPO): one run, the whole Pareto front."""

__version__ = "0.1.0"
