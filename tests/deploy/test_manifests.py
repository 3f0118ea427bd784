"""cluster.yaml and the manifests under deploy/, against Ray's own schemas and the configurations they would run."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import ray.autoscaler
import yaml
from ray.serve.schema import ServeDeploySchema

from cosdpo.cli.command_line import read_config
from cosdpo.errors import InputError
from cosdpo.vllm_resolver import from_environment

ROOT = Path(__file__).parents[2]
RAY = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]

STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
COUNT = {"type": "integer", "minimum": 0}


def fields(required=(), **known):
    return {"type": "object", "properties": known, "required": list(required), "additionalProperties": False}


CLUSTER = fields(
    required=["headGroupSpec"],
    rayVersion={"type": "string"},
    authOptions=fields(required=["mode"], mode={"enum": ["token", "disabled"]}, secretName={"type": "string"}),
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions=fields(
        idleTimeoutSeconds=COUNT, upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]}
    ),
    headGroupSpec=fields(required=["rayStartParams", "template"], rayStartParams=STRINGS, template={"type": "object"}),
    workerGroupSpecs={
        "type": "array",
        "items": fields(
            required=["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
            groupName={"type": "string"},
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            rayStartParams=STRINGS,
            template={"type": "object"},
        ),
    },
)
KUBERAY = {
    "rayjob": fields(
        entrypoint={"type": "string"},
        backoffLimit=COUNT,
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=COUNT,
        rayClusterSpec=CLUSTER,
    ),
    "rayservice": fields(serveConfigV2={"type": "string"}, rayClusterConfig=CLUSTER),
}
"""The fields that the manifests may use of KubeRay's API ray.io/v1 (the operator's ray-operator/apis/ray/v1)."""


def manifest(name):
    return yaml.safe_load((ROOT / name).read_text())


def entrypoint_config(command):
    """The configuration that a job's command line gives."""
    words = shlex.split(command)
    job = ROOT / words[1]
    assert job.exists()
    return read_config(["--config", str(ROOT / "jobs/configs/alpaca.yaml"), *words[2:]])


def pods(spec):
    yield spec["headGroupSpec"]["template"]["spec"]
    for group in spec["workerGroupSpecs"]:
        yield group["template"]["spec"]


class TestClusterLauncher:
    def test_rays_own_schema(self):
        schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
        jsonschema.validate(manifest("cluster.yaml"), schema)

    def test_rays_own_schema_refuses_a_wrong_one(self):
        schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(manifest("cluster.yaml") | {"idle_timeout": 5}, schema)

    def test_every_node_asks_for_the_token(self):
        cluster = manifest("cluster.yaml")
        starts = [*cluster["head_start_ray_commands"], *cluster["worker_start_ray_commands"]]
        assert [c.count("RAY_AUTH_MODE=token ray start") for c in starts if "ray start" in c] == [1, 1]
        assert cluster["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"
        assert "chmod 600 ~/.ray/auth_token" in cluster["setup_commands"]

    def test_node_types(self):
        cluster = manifest("cluster.yaml")
        types = cluster["available_node_types"]
        assert cluster["head_node_type"] in types
        assert all(kind["min_workers"] == 0 for name, kind in types.items() if name != "head")
        assert types["gpu_spot"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert cluster["docker"]["image"] == f"rayproject/ray:{RAY}-py311-gpu"

    def test_one_node_holds_the_papers_run(self):
        workers = read_config(["--config", str(ROOT / "jobs/configs/alpaca.yaml")]).scaling.workers
        kinds = manifest("cluster.yaml")["available_node_types"]
        assert all(kinds[name]["resources"]["GPU"] >= workers for name in ("gpu_spot", "gpu_large"))

    def test_the_line_that_lists_requirements(self, tmp_path, capsys):
        (line,) = [command for command in manifest("cluster.yaml")["setup_commands"] if "tomllib" in command]
        code = shlex.split(line.split(" > ")[0])[2]
        code = code.replace("/home/ray/cosdpo/pyproject.toml", str(ROOT / "pyproject.toml"))
        exec(code)  # our own file, a line of it
        wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        assert capsys.readouterr().out.splitlines() == wanted


class TestRayJob:
    def test_its_command_line_is_a_valid_configuration(self):
        spec = manifest("deploy/rayjob.yaml")["spec"]
        config = entrypoint_config(spec["entrypoint"])
        assert config.resume  # a replaced cluster goes on
        groups = spec["rayClusterSpec"]["workerGroupSpecs"]
        limits = [group["template"]["spec"]["containers"][0]["resources"]["limits"] for group in groups]
        gpus = sum(group["maxReplicas"] * int(of["nvidia.com/gpu"]) for group, of in zip(groups, limits, strict=True))
        assert gpus >= config.scaling.workers

    def test_output_lies_on_the_shared_volume_of_every_pod(self):
        spec = manifest("deploy/rayjob.yaml")["spec"]
        output = entrypoint_config(spec["entrypoint"]).output
        for pod in pods(spec["rayClusterSpec"]):
            mounts = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
            assert any(output.is_relative_to(mount) for mount in mounts)


class TestRayService:
    def test_serves_own_schema(self):
        config = yaml.safe_load(manifest("deploy/rayservice.yaml")["spec"]["serveConfigV2"])
        ServeDeploySchema.model_validate(config)

    def test_settings_are_known_to_the_service(self):
        from serve.service_settings import ServiceSettings

        for source in ("serve/config.yaml", "deploy/rayservice.yaml"):
            found = manifest(source)
            config = yaml.safe_load(found["spec"]["serveConfigV2"]) if "spec" in found else found
            (application,) = config["applications"]
            assert set(application["args"]) <= set(ServiceSettings.model_fields)
            module, name = application["import_path"].split(":")
            assert hasattr(__import__(module, fromlist=[name]), name)

    def test_listens_for_others_only_with_keys(self):
        config = yaml.safe_load(manifest("deploy/rayservice.yaml")["spec"]["serveConfigV2"])
        assert config["http_options"]["host"] == "0.0.0.0"
        assert config["applications"][0]["args"]["keys"]


def test_vllm_under_ray_serve_llm_has_its_plugin_and_no_buckets():
    config = manifest("deploy/ray-serve-llm.yaml")
    ServeDeploySchema.model_validate(config)
    (model,) = config["applications"][0]["args"]["llm_configs"]
    assert model["engine_kwargs"]["enable_lora"]
    assert "lora_config" not in model
    variables = model["runtime_env"]["env_vars"]
    assert variables.pop("VLLM_ALLOW_RUNTIME_LORA_UPDATING") == "1"
    with pytest.raises(InputError, match=r"has no cosdpo\.json"):  # the names are right, the folder is not here
        from_environment(variables)


@pytest.mark.parametrize(("name", "key"), [("rayjob", "rayClusterSpec"), ("rayservice", "rayClusterConfig")])
class TestBothManifests:
    def test_versions_agree(self, name, key):
        found = manifest(f"deploy/{name}.yaml")
        assert found["apiVersion"] == "ray.io/v1"
        assert found["spec"][key]["rayVersion"] == RAY
        assert f"FROM rayproject/ray:{RAY}-" in (ROOT / "deploy/Dockerfile").read_text()

    def test_the_operator_makes_a_token(self, name, key):
        assert manifest(f"deploy/{name}.yaml")["spec"][key]["authOptions"] == {"mode": "token"}
        assert "KubeRay operator (1.5.1 or newer)" in (ROOT / f"deploy/{name}.yaml").read_text().splitlines()[0]

    def test_kuberays_fields(self, name, key):
        spec = manifest(f"deploy/{name}.yaml")["spec"]
        jsonschema.validate(spec, KUBERAY[name])
        with pytest.raises(jsonschema.ValidationError, match="shutdownAfter"):
            jsonschema.validate(spec | {"shutdownAfter": True}, KUBERAY[name])

    def test_pods_by_kubernetes_own_schema(self, name, key):
        for spec in pods(manifest(f"deploy/{name}.yaml")["spec"][key]):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "ray"}, "spec": spec}
            kubernetes_validate.validate(pod, "1.33", strict=True)
            with pytest.raises(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(pod | {"spec": spec | {"volume": []}}, "1.33", strict=True)

    def test_every_mount_has_its_volume(self, name, key):
        for pod in pods(manifest(f"deploy/{name}.yaml")["spec"][key]):
            volumes = {volume["name"] for volume in pod["volumes"]}
            for container in pod["containers"]:
                assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
                assert container["resources"]["requests"] == container["resources"]["limits"]

    def test_replicas_within_their_bounds(self, name, key):
        for group in manifest(f"deploy/{name}.yaml")["spec"][key]["workerGroupSpecs"]:
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_the_image_copies_what_exists():
    for line in (ROOT / "deploy/Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            sources = [word for word in line.split()[1:-1] if not word.startswith("--")]
            assert all((ROOT / source).exists() for source in sources)
