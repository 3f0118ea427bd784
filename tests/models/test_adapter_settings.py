"""Kinds of adapters that peft would take and the conditioning would run wrongly are refused."""

from __future__ import annotations

import json

import pytest

from cosdpo.errors import InputError
from cosdpo.models.adapter_settings import read_adapter_settings


def test_what_no_run_writes_is_refused(make_scorer, tmp_path):
    make_scorer("gpt2-tied").save(tmp_path)
    file = tmp_path / "adapters.json"
    whole = json.loads(file.read_text())
    assert read_adapter_settings(tmp_path).r == 4
    # What a later peft adds, and does not use, does not matter; neither does where the base was.
    file.write_text(json.dumps(whole | {"later": None, "other": False, "base_model_name_or_path": "moved"}))
    assert read_adapter_settings(tmp_path).lora_alpha == 8
    for change, message in (
        ({"peft_type": "PROMPT_TUNING"}, "peft_type: "),
        ({"use_dora": True}, "use_dora is True"),
        ({"use_rslora": True}, "use_rslora is True"),
        ({"rank_pattern": {"c_attn": 2}}, "rank_pattern is"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is"),
        ({"r": "4"}, "r: "),
        ({"r": 0}, "r: "),
        ({"lora_alpha": float("inf")}, "lora_alpha: "),
        ({"target_modules": []}, "target_modules: "),
        ({"target_modules": None}, "target_modules: "),
        ({"later": "on"}, "later is 'on'"),
    ):
        file.write_text(json.dumps(whole | change))
        with pytest.raises(InputError, match=rf"adapters\.json is not that of a run, {message}") as error:
            read_adapter_settings(tmp_path)
        assert "\n" not in str(error.value)
    for text, message in (("[]", "is not that of a run"), ("{", "Invalid JSON")):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            read_adapter_settings(tmp_path)
    file.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_adapter_settings(tmp_path)
