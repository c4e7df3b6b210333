"""The files of docs/kubernetes against Kubernetes' own schemas, Airflow's executor and the package's settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator

from include.backup.settings import Settings
from include.operators.connection_variables import DRILL_VARIABLE

FOLDER = Path(__file__).parents[2] / "docs" / "kubernetes"
GUIDE = FOLDER.parent / "MORE_MACHINES.md"
VERSIONS = ("1.30", "1.35")  # Airflow 3.3 is tested with these and those in between
SETTINGS = {name.upper() for name in Settings.model_fields}


def read(name: str) -> dict[str, Any]:
    document = yaml.safe_load((FOLDER / name).read_text())
    assert isinstance(document, dict)
    return document


def chart_pod() -> dict[str, Any]:
    """Return a pod with what values.yaml gives the chart for every pod."""
    values = read("values.yaml")
    base = {
        "name": "base",
        "image": "{repository}:{tag}".format(**values["images"]["airflow"]),
        "env": values["env"],
        "envFrom": yaml.safe_load(values["extraEnvFrom"]),
        "volumeMounts": values["volumeMounts"],
        "resources": values["workers"]["kubernetes"]["resources"],
    }
    spec = {
        "containers": [base],
        "volumes": values["volumes"],
        "securityContext": values["securityContexts"]["pod"],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "chart"}, "spec": spec}


PODS = {"pod_template.yaml": lambda: read("pod_template.yaml"), "values.yaml": chart_pod}


@pytest.fixture(params=PODS)
def pod(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The pod of a task: of the template, and of the chart's values."""
    return PODS[request.param]()


@pytest.mark.parametrize("version", VERSIONS)
def test_pod_and_volume_are_valid_in_kubernetes(pod: dict[str, Any], version: str) -> None:
    """Strictly: a key that Kubernetes does not know is an error."""
    for manifest in (pod, read("volume.yaml")):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_mistyped_key_is_not_valid(pod: dict[str, Any]) -> None:
    """The schemas look into volumes: this is what the test above would see."""
    pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claim"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, VERSIONS[0], strict=True)


def test_executor_makes_a_valid_pod_of_the_template() -> None:
    """Airflow's own code reads the file and puts task, image and command into the container `base`."""
    template = PodGenerator.deserialize_model_file(str(FOLDER / "pod_template.yaml"))
    made = PodGenerator.construct_pod(
        dag_id="critical_backup",
        task_id="export_database",
        pod_id="critical-backup-export-database",
        try_number=1,
        kube_image="registry.example.com/other:2",
        date=None,
        args=["python", "-m", "airflow.sdk.execution_time.execute_workload"],
        pod_override_object=None,
        base_worker_pod=template,
        namespace="airflow",
        scheduler_job_id="1",
        run_id="manual__2026-11-21T02:00:00+00:00",
    )
    pod = PodGenerator.serialize_pod(made)
    kubernetes_validate.validate(pod, VERSIONS[-1], strict=True)
    (base,) = pod["spec"]["containers"]
    assert (base["name"], base["args"][0]) == ("base", "python")
    assert base["volumeMounts"] == read("pod_template.yaml")["spec"]["containers"][0]["volumeMounts"]
    assert pod["spec"]["restartPolicy"] == "Never"


def test_every_pod_has_the_shared_volume_below_backup_dir(pod: dict[str, Any]) -> None:
    """BACKUP_DIR and BACKUP_CONFIG_DIR lie on volumes, the first on the claim that several nodes may mount at once."""
    (base,) = pod["spec"]["containers"]
    settings = {item["name"]: item["value"] for item in base["env"]}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in base["volumeMounts"]}
    claim = read("volume.yaml")
    backups = mounts[str(Path(settings["BACKUP_DIR"]).parent)]["persistentVolumeClaim"]
    assert backups == {"claimName": claim["metadata"]["name"]}
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert "secret" in mounts[settings["BACKUP_CONFIG_DIR"]]
    assert "configMap" in mounts[str(Path(settings["BACKUP_SCOPE_FILE"]).parent)]


def test_every_variable_is_a_setting_of_the_package_or_of_airflow(pod: dict[str, Any]) -> None:
    """A name that nobody reads would be a setting that is not set."""
    names = {item["name"] for item in pod["spec"]["containers"][0]["env"]} - {"PYTHONPATH"}
    assert {name for name in names if not name.startswith("AIRFLOW__")} <= SETTINGS


def test_guide_makes_every_secret_that_the_files_name(pod: dict[str, Any]) -> None:
    """`kubectl create secret generic NAME` stands there for each, and each variable in it is a setting."""
    guide = GUIDE.read_text()
    made = set(re.findall(r"kubectl create secret generic ([\w-]+)", guide))
    values = read("values.yaml")
    wanted = {value for key, value in (values | values["data"]).items() if key.endswith("SecretName")}
    wanted |= {source["secretRef"]["name"] for source in pod["spec"]["containers"][0]["envFrom"]}
    wanted |= {volume["secret"]["secretName"] for volume in pod["spec"]["volumes"] if "secret" in volume}
    assert wanted <= made
    variables = set(re.findall(r"--from-literal=([A-Z]\w+)=", guide))
    assert variables
    assert variables <= SETTINGS | {DRILL_VARIABLE}
    maps = {volume["configMap"]["name"] for volume in pod["spec"]["volumes"] if "configMap" in volume}
    assert maps == set(re.findall(r"kubectl create configmap ([\w-]+)", guide))
