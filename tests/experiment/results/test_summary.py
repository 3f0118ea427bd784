"""comparison.json: figures by hand, and the keys that others rely on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cosdpo.errors import InputError
from cosdpo.experiment.results.summary import Comparison, conditioned, summarise
from tests.fake_results import field, result


def test_hypervolume_over_seeds() -> None:
    # boxes of steps of a quarter under the diagonal: quality^2 * (0.25 * 0.75 + 0.25 * 0.5 + 0.25 * 0.25)
    step = 0.25 * (0.75 + 0.5 + 0.25)
    volume = summarise(field({"cos": [1, 2]})).methods["cos"].hypervolume["accuracy"]
    assert volume.seeds == pytest.approx([step, 4 * step])
    assert volume.mean == pytest.approx(2.5 * step)
    assert volume.std == pytest.approx(3 * step / 2**0.5)


def test_igd_plus_against_the_union_front_of_the_seed() -> None:
    # seed 0: cos has (0, 2) and (2, 0), soup (0, 1) and (1, 0); the union front is cos's two points, each missed by
    # soup by 1. Seed 1: cos reaches (1, 0) and (0, .5), soup (0, 1) and (.5, 0); the union front is (1, 0) and (0, 1),
    # of which each reaches one and misses the other by .5.
    grid = {"partitions": 1}
    results = [
        result("cos", 0, values=[[0, 2], [2, 0]], **grid),  # type: ignore[arg-type]
        result("soup", 0, values=[[0, 1], [1, 0]], **grid),  # type: ignore[arg-type]
        result("cos", 1, values=[[0, 0.5], [1, 0]], **grid),  # type: ignore[arg-type]
        result("soup", 1, values=[[0, 1], [0.5, 0]], **grid),  # type: ignore[arg-type]
    ]
    methods = summarise(results).methods
    assert methods["cos"].igd_plus["accuracy"].seeds == pytest.approx([0, 0.25])
    assert methods["soup"].igd_plus["accuracy"].seeds == pytest.approx([1, 0.25])
    assert methods["soup"].igd_plus["accuracy"].mean == pytest.approx(0.625)


def test_hypervolume_of_pairs() -> None:
    # No point is above the reference in all three; seen in the first two, boxes of 2 x 1 and 1 x 2 share a square.
    values = [[2, 1, -1], [1, 2, -1], [-1, -1, 3]]
    names = ("kind", "brief", "vivid")
    results = [
        result("cos", seed, values=(seed + 1) * np.array(values), objectives=names, partitions=1, loss=True)
        for seed in (0, 1)
    ]
    method = summarise(results).methods["cos"]
    assert method.hypervolume["accuracy"].seeds == [0, 0]
    for metric in ("accuracy", "loss"):
        pairs = method.hypervolume_pairs[metric]
        assert list(pairs) == ["kind, brief", "kind, vivid", "brief, vivid"]
        assert pairs["kind, brief"].seeds == pytest.approx([3, 12])
        assert pairs["kind, vivid"].seeds == pairs["brief, vivid"].seeds == [0, 0]
        assert method.over_pairs(metric).seeds == pytest.approx([1, 4])


def test_keys_of_the_file(tmp_path: Path) -> None:
    results = [
        result(method, seed, main="relevance", seconds=60 + seed) for method in ("cos", "soup") for seed in (0, 1)
    ]
    comparison = summarise([*results, result("soup", 0, 0.5, main="relevance", budget="time")], {"modpo": "died"})
    comparison.save(tmp_path / "comparison.json")
    assert [path.name for path in tmp_path.iterdir()] == ["comparison.json"]
    written = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert list(written["methods"]) == ["cos", "soup"]
    entry = written["methods"]["cos"]
    assert set(entry["hypervolume"]["accuracy"]) == {"mean", "std", "seeds"}
    assert "hypervolume_pairs" not in entry  # of two objectives
    assert entry["train_seconds_total"] == {"mean": 60.5, "std": pytest.approx(0.5**0.5), "seeds": [60, 61]}
    assert (entry["trained_parameters"], entry["runs"], entry["peak_memory_bytes"]) == (1000, 1, 2 * 2**20)
    assert set(entry["igd_plus"]) == set(entry["spread"]) == {"accuracy"}
    assert entry["controllability"]["accuracy"]["mean"] == pytest.approx([1, 1])
    # 0.4 - 0.1 w_1 over w_1 = 0, .25, ..., 1
    assert (entry["main"]["best"]["mean"], entry["main"]["worst"]["mean"]) == pytest.approx((0.4, 0.3))
    assert entry["main"]["mean"]["mean"] == pytest.approx(0.35)
    assert written["reference_point"] == {"accuracy": [0, 0]}
    assert (written["seeds"], written["objectives"], written["task"]) == ([0, 1], ["kind", "brief"], "ranking")
    assert (written["budget"], written["failures"]) == ("steps", {"modpo": "died"})
    # the conditioned run is its own measure of equal time
    assert list(written["equal_time"]) == ["cos", "soup"]
    assert written["equal_time"]["cos"]["hypervolume"] == entry["hypervolume"]
    assert written["equal_time"]["soup"]["seeds"] == [0]
    assert Comparison.load(tmp_path / "comparison.json") == comparison


def test_without_main_and_equal_time() -> None:
    written = json.loads(summarise(field({"cos": [1]})).model_dump_json())
    assert "main" not in written["methods"]["cos"]
    assert written["equal_time"] == {}


def test_reference_points_of_seeds_are_kept_and_averaged() -> None:
    comparison = summarise([result("cos", seed, base=0.1 * seed) for seed in (1, 0, 2)])
    assert comparison.seeds == [0, 1, 2]
    np.testing.assert_allclose(comparison.reference_point_seeds["accuracy"], [[0.0, 0.0], [0.1, 0.1], [0.2, 0.2]])
    np.testing.assert_allclose(comparison.reference_point["accuracy"], [0.1, 0.1])
    assert comparison.methods["cos"].seeds == [0, 1, 2]


def test_losses_count_negated() -> None:
    method = summarise([result("cos", loss=True)]).methods["cos"]
    assert method.hypervolume["loss"].mean == pytest.approx(method.hypervolume["accuracy"].mean)
    assert method.controllability["loss"].mean == pytest.approx([1, 1])


def test_nothing_to_compare() -> None:
    with pytest.raises(InputError, match=r"no method has a result to compare \(cos, seed 0: out of memory\)"):
        summarise([], {"cos, seed 0": "out of memory"})
    with pytest.raises(InputError, match="no method has a result"):
        summarise([result("soup", budget="time")])


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Comparison.load(tmp_path / "comparison.json")
    (tmp_path / "comparison.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"is no comparison, task: "):
        Comparison.load(tmp_path / "comparison.json")


def test_variants_of_cos_are_conditioned() -> None:
    assert conditioned("cos")
    assert conditioned("cos, hyper_prompt")
    assert not conditioned("cosine")
    assert not conditioned("soup")
