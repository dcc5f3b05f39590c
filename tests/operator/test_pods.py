"""The worker's pod: what it is told and given, and that no template makes it less restricted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cycleqd.errors import BadManifest
from cycleqd.ids import parse_ids
from cycleqd.plan import Work
from cycleqd_operator.pods import arguments
from tests.operator.manifests import (
    MAXIMAL_TEMPLATE,
    WITH_SIDECARS,
    WORK,
    container,
    job,
    maximal_spec,
    pod,
    spec,
    variables,
)
from tests.operator.pod_security import violations

NASTY = [
    *("hostPath", "hostNetwork", "securityContext", "privileged", "runAsUser", "capabilities", "add", "name", "nfs"),
    *("containers", "initContainers", "automountServiceAccountToken", "limits", "requests", "nvidia.com/gpu"),
    *("emptyDir", "secret", "projected", "sources", "serviceAccountToken"),
]
LABELS = ["cycleqd.dev/run", "cycleqd.dev/run-uid", "app.kubernetes.io/managed-by", "team"]
VARIABLES = ["CYCLEQD_SECRETS", "CYCLEQD_NEW", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL", "HOME", "TEAM"]
APPARMOR = "container.apparmor.security.beta.kubernetes.io/worker"

values = st.recursive(
    st.sampled_from([True, False, None, 0, "x", "unconfined", "/"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NASTY), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.sampled_from(NASTY), values, max_size=3)
named = st.builds(lambda name, rest: {**rest, "name": name}, st.sampled_from(VARIABLES), objects) | objects
profiles = st.sampled_from(["unconfined", "localhost/ours"])
templates = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.dictionaries(st.sampled_from(LABELS), st.just("theirs")),
        "annotations": st.dictionaries(st.sampled_from([APPARMOR, "note"]), profiles),
        "nodeSelector": st.dictionaries(st.sampled_from(NASTY), st.just("x"), max_size=2),
        "tolerations": st.lists(objects, max_size=2),
        "affinity": objects,
        "volumes": st.lists(objects, max_size=2),
        "volumeMounts": st.lists(objects, max_size=2),
        "env": st.lists(named, max_size=3),
        "resources": objects,
        "imagePullSecrets": st.lists(st.dictionaries(st.sampled_from(NASTY), st.just("x")), max_size=1),
        "serviceAccountName": st.just("workers"),
    },
)


@given(templates, st.integers(0, 2), st.booleans())
@example(MAXIMAL_TEMPLATE, 2, True)
@example({}, 0, False)
def test_whatever_the_template_says_a_worker_is_restricted(template: Any, gpus: int, has_ca_bundle: bool) -> None:
    wanted = spec(workers={"gpus": gpus, "template": template})
    try:
        body = job(of=wanted, settings=WITH_SIDECARS, has_ca_bundle=has_ca_bundle)["spec"]["template"]
    except BadManifest:
        return
    assert violations(body) == []
    assert body["spec"]["initContainers"] == job(settings=WITH_SIDECARS)["spec"]["template"]["spec"]["initContainers"]
    assert len(body["spec"]["containers"]) == 1
    assert body["spec"]["automountServiceAccountToken"] is False
    assert body["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    assert body["metadata"]["labels"].items() >= job()["metadata"]["labels"].items()
    fixed = {name: source for name, source in variables(spec()).items() if name.startswith(("CYCLEQD_", "AWS_"))}
    found = variables(wanted, has_ca_bundle=has_ca_bundle)
    assert found.items() >= fixed.items()
    assert "CYCLEQD_NEW" not in found


@pytest.mark.parametrize(
    ("template", "message"),
    [
        pytest.param(
            {"volumes": [{"name": "a", "emptyDir": {}}, {"name": "host", "hostPath": {"path": "/"}}]},
            r"volumes\[1\] is of the kind hostPath, .* persistentVolumeClaim",
            id="the node's files",
        ),
        pytest.param({"volumes": [{"name": "x", "nfs": {}}]}, "kind nfs", id="a kind that is not on the list"),
        pytest.param(
            {"volumes": [{"name": "x", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]},
            r"volumes\[0\] projects a service account's token",
            id="a token",
        ),
        pytest.param({"annotations": {APPARMOR: "unconfined"}}, "annotations has .*unconfined", id="AppArmor off"),
    ],
)
def test_a_template_that_asks_for_too_much_is_refused(template: dict[str, Any], message: str) -> None:
    with pytest.raises(BadManifest, match=message):
        pod(template)


def test_the_checker_sees_what_is_wrong() -> None:
    """The property above is worth as much as this."""
    weak = {
        "metadata": {"annotations": {APPARMOR: "unconfined"}},
        "spec": {
            "hostNetwork": True,
            "volumes": [{"name": "x", "hostPath": {}}],
            "containers": [{"name": "worker", "securityContext": {"privileged": True}}],
        },
    }
    assert len(violations(weak)) == 8
    probed = pod()
    for probe, count in ({"exec": {"command": ["x"]}}, 0), ({"httpGet": {"port": 80, "host": "10.0.0.1"}}, 1):
        probed["spec"]["containers"][0]["startupProbe"] = probe
        assert len(violations(probed)) == count
    for context, container_context in (("runAsNonRoot", None), ("seccompProfile", None), (None, "capabilities")):
        body = pod()
        body["spec"]["securityContext"].pop(context, None)
        body["spec"]["containers"][0]["securityContext"].pop(container_context, None)
        assert len(violations(body)) == 1


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (WORK[0], ["worker", "prepare", "--run", "s3://runs/demo", "--expert", "shell"]),
        (WORK[1], ["worker", "evaluate", "--run", "s3://runs/demo", "--ids", "2"]),
        (WORK[2], ["worker", "breed", "--run", "s3://runs/demo", "--ids", "3-5,9"]),
        (WORK[3], ["worker", "finalize", "--run", "s3://runs/demo"]),
    ],
    ids=lambda value: getattr(value, "role", ""),
)
def test_a_worker_is_told_its_work(work: Work, expected: list[str]) -> None:
    assert job(work)["spec"]["template"]["spec"]["containers"][0]["args"] == expected


def test_no_variable_is_put_into_an_address() -> None:
    assert (
        arguments("s3://runs/$(AWS_SECRET_ACCESS_KEY)", Work("finalize"))[-1] == "s3://runs/$$(AWS_SECRET_ACCESS_KEY)"
    )


def test_the_longest_block_fits_into_an_argument() -> None:
    block = tuple(range(900_000, 1_000_000, 10))  # interleaved with ten workers: no ranges
    text = arguments("s3://runs/demo", Work("breed", ids=block))[-1]
    assert parse_ids(text) == block
    assert len(text) < 128 * 1024  # what Linux allows one argument


def test_the_credentials_come_from_the_secret() -> None:
    found = variables(spec())
    assert found["AWS_ACCESS_KEY_ID"] == {"secretKeyRef": {"name": "s3-credentials", "key": "AWS_ACCESS_KEY_ID"}}
    assert found["AWS_SECRET_ACCESS_KEY"]["secretKeyRef"].get("optional") is None
    for key in ("AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "HF_TOKEN"):
        assert found[key] == {"secretKeyRef": {"name": "s3-credentials", "key": key, "optional": True}}
    region = {"name": "s3-credentials", "key": "AWS_REGION", "optional": True}
    assert found["AWS_DEFAULT_REGION"] == {"secretKeyRef": region}, "boto3 reads no other name"
    assert "AWS_CA_BUNDLE" not in found


def test_without_a_secret_the_template_may_say_where_s3_is() -> None:
    open_store = {"uri": "s3://runs/demo"}
    assert not [name for name in variables(spec(storage=open_store)) if name.startswith("AWS_")]
    workers = {"template": {"env": [{"name": "AWS_DEFAULT_REGION", "value": "eu-west-1"}]}}
    assert variables(spec(storage=open_store, workers=workers))["AWS_DEFAULT_REGION"] == "eu-west-1"


def test_certificates_are_mounted_where_the_variable_says() -> None:
    body = job(has_ca_bundle=True)["spec"]["template"]["spec"]
    path = variables(spec(), has_ca_bundle=True)["AWS_CA_BUNDLE"]
    mount = next(each for each in body["containers"][0]["volumeMounts"] if path.startswith(each["mountPath"]))
    source = next(each for each in body["volumes"] if each["name"] == mount["name"])["secret"]
    assert f"{mount['mountPath']}/{source['items'][0]['path']}" == path
    assert (source["secretName"], source["items"][0]["key"]) == ("s3-credentials", "AWS_CA_BUNDLE")


def test_secrets_of_models_are_files_and_each_is_mounted_once() -> None:
    experts = [{"name": name, "uri": f"hf://org/{name}"} for name in ("sql", "shell", "python")]
    experts[0]["credentialsSecretName"] = experts[1]["credentialsSecretName"] = "experts"
    wanted = spec(baseModel={"uri": "hf://org/base", "credentialsSecretName": "hub"}, experts=experts)
    body = job(of=wanted)["spec"]["template"]["spec"]
    assert len(body["volumes"]) == len(_sources({"spec": body})) == 5
    secrets = {each["name"]: each["secret"]["secretName"] for each in body["volumes"] if "secret" in each}
    mounts = {each["mountPath"]: each for each in body["containers"][0]["volumeMounts"] if each["name"] in secrets}
    folder = variables(wanted)["CYCLEQD_SECRETS"]
    assert {path: secrets[each["name"]] for path, each in mounts.items()} == {
        f"{folder}/hub": "hub",
        f"{folder}/experts": "experts",
    }
    assert all(each["readOnly"] for each in mounts.values())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"engine": {"args": {"threads": 6}}}, "6", id="what the run says"),
        pytest.param({"search": {"strict": True}}, "1", id="one in strict runs"),
        pytest.param({"engine": {"args": {"threads": 6}}, "search": {"strict": True}}, "6", id="said in a strict run"),
        pytest.param({}, {"resourceFieldRef": {"resource": "limits.cpu"}}, id="else the limit"),
        pytest.param({"workers": {"template": MAXIMAL_TEMPLATE}}, "3", id="the template wins"),
    ],
)
def test_the_number_of_threads(fields: dict[str, Any], expected: Any) -> None:
    assert variables(spec(**fields))["OMP_NUM_THREADS"] == expected


def test_a_variable_has_one_value_and_may_refer_to_earlier_ones() -> None:
    env = [
        {"name": "CODE", "value": "1"},
        {"name": "CACHE", "value": "$(CYCLEQD_CACHE)/$(CODE)"},
        {"name": "HF_HOME", "value": "$(CACHE)/hub"},
        {"name": "CODE", "value": "2"},
    ]
    names = [each["name"] for each in container({"env": env})["env"]]
    assert [name for name in names if name in ("CYCLEQD_CACHE", "HF_HOME", "CODE", "CACHE")] == [
        *("CYCLEQD_CACHE", "CODE", "CACHE", "HF_HOME")
    ]
    assert variables(spec(workers={"template": {"env": env}}))["CODE"] == "2"


@pytest.mark.parametrize(
    ("gpus", "wanted", "expected"),
    [
        pytest.param(0, {}, {}, id="nothing"),
        pytest.param(2, {}, {"limits": {"nvidia.com/gpu": 2}}, id="GPUs alone"),
        pytest.param(
            2,
            {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
            {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi", "nvidia.com/gpu": 2}},
            id="beside other resources",
        ),
        pytest.param(
            2,
            {"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 1}},
            {"requests": {}, "limits": {"nvidia.com/gpu": 2}},
            id="the run's number wins, and a request cannot contradict it",
        ),
        pytest.param(
            0, {"limits": {"nvidia.com/mig-1g.10gb": 1}}, {"limits": {"nvidia.com/mig-1g.10gb": 1}}, id="other GPUs"
        ),
    ],
)
def test_resources(gpus: int, wanted: dict[str, Any], expected: dict[str, Any]) -> None:
    assert container({"resources": wanted}, gpus=gpus)["resources"] == expected


def test_resources_of_another_form_are_refused() -> None:
    with pytest.raises(BadManifest, match=r"resources\.limits is 'all', expected amounts by name"):
        container({"resources": {"limits": "all"}}, gpus=1)


def test_the_template_reaches_the_pod() -> None:
    body = job(of=maximal_spec())["spec"]["template"]
    elsewhere = {"labels", "annotations", "volumes", "volumeMounts", "env", "resources"}
    for field in MAXIMAL_TEMPLATE.keys() - elsewhere:
        assert body["spec"][field] == MAXIMAL_TEMPLATE[field]
    assert body["metadata"]["labels"].items() >= MAXIMAL_TEMPLATE["labels"].items()
    assert body["metadata"]["annotations"] == MAXIMAL_TEMPLATE["annotations"]
    assert body["spec"]["containers"][0]["image"] == "localhost/other:1"


def test_what_is_not_said_is_left_out() -> None:
    body = pod()
    assert not {"nodeSelector", "tolerations", "affinity", "runtimeClassName"} & set(body["spec"])
    assert body["spec"]["terminationGracePeriodSeconds"] == 60
    assert body["spec"]["containers"][0]["image"] == "localhost/cycleqd-runner:test"


def _sources(body: Any) -> dict[str, Any]:
    """Return the volume that is mounted at each path, without its name."""
    volumes = {each["name"]: {k: v for k, v in each.items() if k != "name"} for each in body["spec"]["volumes"]}
    return {each["mountPath"]: volumes[each["name"]] for each in body["spec"]["containers"][0]["volumeMounts"]}


def test_a_worker_can_write_where_it_has_to() -> None:
    assert _sources(pod()) == {
        "/tmp": {"emptyDir": {}},
        "/dev/shm": {"emptyDir": {"medium": "Memory", "sizeLimit": "1024Mi"}},
        "/cache": {"emptyDir": {}},
    }
    assert "/dev/shm" not in _sources(pod(sharedMemoryMebibytes=0))
    claim = {"persistentVolumeClaim": {"claimName": "models"}}
    assert _sources(pod(modelCacheClaimName="models"))["/cache"] == claim


def test_a_mount_of_the_template_takes_the_place_of_ours() -> None:
    found = _sources(pod(MAXIMAL_TEMPLATE))
    assert found["/tmp"] == {"emptyDir": {"sizeLimit": "20Gi"}}
    assert "/cache" not in found
    assert "ephemeral" in found["/cache/"]
    assert "/dev/shm" in found
