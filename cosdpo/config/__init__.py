"""The whole configuration of a run, typed in one place.

The attribute docstrings of the sections are the only help text there is: `--help` of every job, docs/configuration.md
and the editor's tooltip all show them. Values come from, in rising order of precedence, the defaults here, a YAML file
(`--config FILE.yaml`) and the command line (`--section.key VALUE`); cosdpo/cli does the reading.
"""

from cosdpo.config.config import Config
from cosdpo.config.data import Comparisons, DataConfig
from cosdpo.config.evaluation import EvaluationConfig, GridConfig
from cosdpo.config.experiment import BaselineConfig, ComparisonConfig, MethodName, SweepConfig
from cosdpo.config.scaling import GpuConfig, ScalingConfig, TrackingConfig
from cosdpo.config.section import Section
from cosdpo.config.training import ModelConfig, RankerConfig, TrainingConfig

__all__ = [
    "BaselineConfig",
    "ComparisonConfig",
    "Comparisons",
    "Config",
    "DataConfig",
    "EvaluationConfig",
    "GpuConfig",
    "GridConfig",
    "MethodName",
    "ModelConfig",
    "RankerConfig",
    "ScalingConfig",
    "Section",
    "SweepConfig",
    "TrackingConfig",
    "TrainingConfig",
]
