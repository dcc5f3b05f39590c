"""What goes wrong with a single run: things that are missing, foreign, broken or killed. Whatever can go on does."""

from __future__ import annotations

import pytest

from cycleqd import keys
from cycleqd.store import open_store
from cycleqd.store.transfer import upload_folder
from tests.e2e.checker import check
from tests.e2e.cluster import KubectlFailed
from tests.e2e.scene import Run, Scene
from tests.e2e.tiny import EXPERTS
from tests.e2e.world import make_bucket

pytestmark = [pytest.mark.e2e, pytest.mark.together, pytest.mark.timeout(3000)]

FIRST_CHILD = 2


def one_sentence(message: str, *names: str) -> None:
    """A message for people: one line that names what it is about."""
    assert message.endswith("."), message
    assert "\n" not in message
    assert "Traceback" not in message
    for name in names:
        assert name in message, message


def goes_on(run: Run) -> None:
    """The run breeds as if nothing had been; it is not waited for its end, which is like that of any other."""
    run.reach_children(1)
    run.reach_condition("Degraded", "False")
    run.steer({"desiredState": "Cancelled"})
    run.reach_state("Cancelled")
    run.reach_calm()
    check(run, complete=False)
    assert run.failures() == []


def test_a_deleted_worker_pod_is_replaced_and_is_nobodys_failure(scene: Scene) -> None:
    run = scene.tiny_run("pod-deleted")
    run.apply()
    run.reach_children(1)
    before = run.results()
    (pod,) = run.running_pods()
    scene.world.kubectl.delete("pod", pod, scene.world.namespace)
    run.reach_state("Succeeded")
    after = check(run)
    assert {individual: after[individual] for individual in before} == before
    assert len({result.worker for result in after.values()}) > len({result.worker for result in before.values()})
    assert run.failures() == []


def test_a_child_that_kills_three_workers_is_given_up_and_the_run_goes_on(scene: Scene) -> None:
    slowly = {f"spec.tasks.{task}.repeats": 12 for task in range(2)}  # a child takes long enough to be caught
    run = scene.tiny_run("killer", {"spec.search.children": 4, **slowly})
    run.apply()
    run.reach_children(1)
    killed: set[str] = set()
    kill_next(run, killed)
    (victim,) = {note["individual"] for note in run.failures()}
    assert victim > FIRST_CHILD
    while len(run.failures()) < 3:
        kill_next(run, killed, f"killer-breed-{victim}-")  # a worker that begins with another child is left alone
    run.reach_state("Succeeded")
    check(run)
    assert {note["individual"] for note in run.failures()} == {victim}
    status = run.status()
    assert (status["quarantined"], status["failedChildren"], status["failures"]) == (1, [victim], 3)
    degraded, reason, message = run.condition("Degraded")
    assert (degraded, reason) == ("True", "Quarantined")
    one_sentence(message, str(victim))


def kill_next(run: Run, killed: set[str], beginning: str = "") -> None:
    """Kill the next worker in a pod of such a name, and wait until that is noted."""
    noted = len(run.failures())

    def alive() -> list[str]:
        return [pod for pod in run.running_pods() if pod.startswith(beginning) and pod not in killed]

    run.reach("a worker", alive)
    (pod,) = alive()
    kill(run, pod)
    killed.add(pod)
    run.reach("a note about it", lambda: len(run.failures()) > noted)


def kill(run: Run, pod: str) -> None:
    """Kill the worker in a pod as the kernel does when memory runs out; its container's first process sees it end."""
    again_and_again = "while :; do kill -KILL -1; sleep 0.1; done"  # the worker may not have begun
    command = ("exec", pod, "--namespace", run.world.namespace, "--", "bash", "-c", again_and_again)

    def is_dead() -> bool:
        run.world.kubectl.run(*command)
        return pod not in run.running_pods()

    run.reach("the death of a worker", is_dead, seconds=60)


def test_a_foreign_job_of_the_same_name_is_left_alone(scene: Scene) -> None:
    run = scene.tiny_run("squatted")
    name, namespace = f"squatted-breed-{FIRST_CHILD}", scene.world.namespace
    template = {"restartPolicy": "Never", "containers": [{"name": "other", "image": "other"}]}
    foreign = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"suspend": True, "template": {"spec": template}},
    }
    ok, error = scene.world.kubectl.apply(foreign, namespace)
    assert ok, error
    uid = scene.world.kubectl.get("job", name, namespace)["metadata"]["uid"]

    run.apply()
    message = run.reach_condition("Degraded", "True", "ForeignJob")
    one_sentence(message, name)
    there = scene.world.kubectl.get("job", name, namespace)
    assert there["metadata"]["uid"] == uid
    assert "ownerReferences" not in there["metadata"]

    scene.world.kubectl.delete("job", name, namespace)
    goes_on(run)


def test_a_missing_secret_is_named_and_waited_for(scene: Scene) -> None:
    run = scene.tiny_run("no-secret", {"spec.storage.credentialsSecretName": "later"})
    run.apply()
    one_sentence(run.reach_condition("Degraded", "True"), "later", scene.world.namespace)
    assert run.objects("jobs") == []
    scene.world.put_secret("later")
    goes_on(run)


def test_a_missing_bucket_is_named_and_waited_for(scene: Scene) -> None:
    bucket = "cycleqd-e2e-" + scene.world.namespace.rpartition("-")[2]
    run = scene.tiny_run("no-bucket", {"spec.storage.uri": f"s3://{bucket}/run"}, knows_experts=False)
    run.apply()
    one_sentence(run.reach_condition("Degraded", "True"), bucket)
    assert run.objects("jobs") == []
    make_bucket(bucket)
    try:
        scene.world.tiny.give_experts(run.store)
        goes_on(run)
    finally:
        run.delete()
        open_store(f"s3://{bucket}").delete_prefix("")


def test_a_missing_model_is_named_and_waited_for(scene: Scene) -> None:
    uri = f"{scene.world.uri}/tiny-later"
    run = scene.tiny_run("no-model", {"spec.experts.1.uri": uri}, knows_experts=False)
    run.apply()
    one_sentence(run.reach_condition("Degraded", "True", "MissingInput"), uri)
    upload_folder(open_store(uri), scene.world.tiny.folder / "models" / "b", "")
    run.reach_condition("Prepared", "True")
    run.reach_condition("Degraded", "False")
    run.steer({"desiredState": "Cancelled"})
    run.reach_state("Cancelled")
    check(run, complete=False)


def test_an_expert_of_another_model_fails_the_run_with_one_sentence(scene: Scene) -> None:
    misfit = f"{scene.world.tiny.uri}/misfit"
    run = scene.tiny_run("misfit", {"spec.experts.1.uri": misfit}, knows_experts=False)
    run.apply()
    run.reach("its failure", run.has_failed)
    failed, reason, message = run.condition("Failed")
    assert (failed, reason) == ("True", "BadModel")
    one_sentence(message, "shape")
    check(run, complete=False)
    assert len(run.failures()) == 1, "what cannot succeed is not repeated"


def test_a_sandbox_that_does_not_come_up_fails_the_run_before_it_computes_anything(scene: Scene) -> None:
    no_sandbox = {"sandbox": {"image": scene.world.outside.operator_image}}
    run = scene.tiny_run("no-sandbox", {"spec.workers.sidecars": no_sandbox}, knows_experts=False)
    run.apply()
    run.reach("its failure", run.has_failed)
    failed, reason, message = run.condition("Failed")
    assert (failed, reason) == ("True", "UnsupportedHere")
    one_sentence(message, "The sandbox beside the worker ended 3 times", "exit code", "spec.workers.sidecars.sandbox")
    assert not any(run.store.exists(keys.basis_manifest(expert)) for expert in EXPERTS)
    run.reach_calm()
    check(run, complete=False)


def test_a_result_that_cannot_be_read_is_told_and_made_again(scene: Scene) -> None:
    run = scene.tiny_run("damaged", {"spec.search.children": 8})
    last = FIRST_CHILD + 7
    run.store.put(keys.result(last), b"half a resu")
    run.apply()
    message = run.reach_condition("Degraded", "True", "DamagedObjects")
    one_sentence(message, keys.result(last))
    run.reach_state("Succeeded")
    assert check(run)[last].id == last
    assert run.condition("Degraded")[0] == "False"


def test_a_manifest_that_cannot_be_right_is_refused_at_apply(scene: Scene) -> None:
    run = scene.tiny_run("refused", {"spec.tasks.0.expert": "nobody"}, knows_experts=False)
    ok, error = scene.world.kubectl.apply(run.manifest, scene.world.namespace)
    assert not ok
    assert "expert" in error
    with pytest.raises(KubectlFailed, match="not found"):
        scene.world.kubectl.get("cqd", "refused", scene.world.namespace)
