"""Values that people may well put together, for all tests of whatever the chart makes of them."""

from __future__ import annotations

DIGEST = f"sha256:{'0f' * 32}"
STORE = "objectStore.enabled=true"
POLICIES = "networkPolicy.enabled=true"
SPREAD = "topologySpreadConstraints[0]"
NODES = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0]"

COMBINATIONS: dict[str, list[str]] = {
    "default": [],
    "nobody-at-work": ["replicas=0"],
    "pair": ["replicas=2"],
    "cluster-wide-pair": ["watch.clusterWide=true", "replicas=2"],
    "cluster-wide-with-store-and-policies": ["watch.clusterWide=true", STORE, POLICIES],
    "cluster-wide-policies-for-some": [
        "watch.clusterWide=true",
        POLICIES,
        "networkPolicy.workers.namespaces={default}",
    ],
    "several-namespaces": ["watch.namespaces={default,kube-public}", STORE, POLICIES],
    "named-secrets": ["rbac.secretNames={s3-credentials}"],
    "rights-by-others": ["rbac.create=false", "serviceAccount.create=false", "serviceAccount.name=robot"],
    "no-definition": ["crds.install=false"],
    "digests": [f"image.digest={DIGEST}", f"worker.image.digest={DIGEST}"],
    "sandbox-inside": ["sandbox.sidecar=false", f"mariadb.image.digest={DIGEST}"],
    "storage": ["storage.root=s3://models/team", "storage.credentialsSecretName=s3"],
    "store": [STORE],
    "store-without-models": [STORE, "objectStore.quickstart.enabled=false"],
    "store-that-stays": [STORE, "objectStore.persistence.enabled=true", "objectStore.persistence.size=100Gi"],
    "store-in-a-class": [
        STORE,
        "objectStore.persistence.enabled=true",
        "objectStore.persistence.storageClassName=fast",
    ],
    "store-on-a-claim-that-exists": [
        STORE,
        "objectStore.persistence.enabled=true",
        "objectStore.persistence.existingClaim=mine",
    ],
    "store-with-a-secret-that-exists": [STORE, "objectStore.existingSecret=mine", f"objectStore.image.digest={DIGEST}"],
    "policies": [POLICIES],
    "narrow-policies": [
        POLICIES,
        "networkPolicy.metricsFrom[0].podSelector.matchLabels.app=prometheus",
        "networkPolicy.apiServer.to[0].ipBlock.cidr=10.0.0.1/32",
        "networkPolicy.dns.to[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=kube-system",
        "networkPolicy.s3.to[0].ipBlock.cidr=192.0.2.0/24",
        "networkPolicy.s3.ports={443,9000}",
        "networkPolicy.workers.extraEgress[0].to[0].ipBlock.cidr=198.51.100.7/32",
        "networkPolicy.operator.extraEgress[0].ports[0].port=3128",
    ],
    "spread-pair": [
        "replicas=3",
        "priorityClassName=system-cluster-critical",
        "podDisruptionBudget.maxUnavailable=50%",
        f"{SPREAD}.maxSkew=1",
        f"{SPREAD}.topologyKey=kubernetes.io/hostname",
        f"{SPREAD}.whenUnsatisfiable=ScheduleAnyway",
        f"{NODES}.key=metadata.name",
        f"{NODES}.operator=In",
        f"{NODES}.values={{a}}",
    ],
    "no-fixed-user": [
        STORE,
        "podSecurityContext.runAsUser=null",
        "podSecurityContext.runAsGroup=null",
        "podSecurityContext.fsGroup=null",
    ],
    "everything-set": [
        "extraEnv[0].name=HTTPS_PROXY",
        "extraEnv[0].value=proxy:3128",
        "imagePullSecrets[0].name=pull",
        "nodeSelector.disk=ssd",
        "tolerations[0].operator=Exists",
        "serviceAccount.annotations.a=b",
        "podAnnotations.a=b",
        "podLabels.team=a",
        "resources.limits.cpu=2",
        "fullnameOverride=mine",
        "log.level=DEBUG",
        "log.format=plain",
    ],
}
"""Arguments of --set, by a name that says what they are about."""
