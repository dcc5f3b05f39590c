{{/* Name of all objects: the release's, with the chart's unless it is part of it. */}}
{{- define "cycleqd.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | replace "." "-" | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | replace "." "-" | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of objects outside the release's namespace: releases of the same name in two namespaces do not meet. */}}
{{- define "cycleqd.outerName" -}}
{{- printf "%s-%s" .Release.Namespace (include "cycleqd.fullname" .) -}}
{{- end -}}

{{/* What never changes in the labels of a part, {"root": $, "component": ...}: Deployments select their pods by it. */}}
{{- define "cycleqd.selectorOf" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* All labels of a part, {"root": $, "component": ...}. */}}
{{- define "cycleqd.labelsOf" -}}
{{ include "cycleqd.selectorOf" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "cycleqd.selectorLabels" -}}
{{- include "cycleqd.selectorOf" (dict "root" . "component" "operator") -}}
{{- end -}}

{{- define "cycleqd.labels" -}}
{{- include "cycleqd.labelsOf" (dict "root" . "component" "operator") -}}
{{- end -}}

{{- define "cycleqd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "cycleqd.fullname" .) -}}
{{- else -}}
{{- required "serviceAccount.create is false: serviceAccount.name must name an account that exists" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "cycleqd.leaseName" -}}
{{- include "cycleqd.fullname" . -}}
{{- end -}}

{{/* Image reference of {"image": ..., "root": $}; a digest wins over a tag. */}}
{{- define "cycleqd.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* What all pods of the chart have in common. */}}
{{- define "cycleqd.podDefaults" -}}
# A Service named cycleqd would otherwise set variables that look like settings.
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The watched namespaces with commas; nothing: all of them. */}}
{{- define "cycleqd.namespaces" -}}
{{- if .Values.watch.clusterWide -}}
{{- if .Values.watch.namespaces -}}
{{- fail "watch.clusterWide is true, which serves all namespaces, but watch.namespaces names some: choose one of them" -}}
{{- end -}}
{{- else -}}
{{- .Values.watch.namespaces | default (list .Release.Namespace) | uniq | join "," -}}
{{- end -}}
{{- end -}}

{{- define "cycleqd.objectStoreName" -}}
{{- printf "%s-s3" (include "cycleqd.fullname" .) -}}
{{- end -}}

{{- define "cycleqd.objectStoreEndpoint" -}}
{{- printf "http://%s.%s.svc:7070" (include "cycleqd.objectStoreName" .) .Release.Namespace -}}
{{- end -}}

{{/* The Job that fills the store; each revision has its own, because a Job cannot be changed. */}}
{{- define "cycleqd.objectStoreSetupName" -}}
{{- printf "%s-setup-%d" (include "cycleqd.objectStoreName" . | trunc 50 | trimSuffix "-") .Release.Revision -}}
{{- end -}}

{{- define "cycleqd.objectStoreSecretName" -}}
{{- .Values.objectStore.existingSecret | default (include "cycleqd.objectStoreName" .) -}}
{{- end -}}

{{/* Where runs live that name no S3; "" where nobody has said it. */}}
{{- define "cycleqd.storageRoot" -}}
{{- .Values.storage.root | default (ternary "s3://cycleqd/" "" .Values.objectStore.enabled) -}}
{{- end -}}

{{/* Secret of runs whose storage names none; "" where there is none. */}}
{{- define "cycleqd.storageSecretName" -}}
{{- if .Values.storage.credentialsSecretName -}}
{{- .Values.storage.credentialsSecretName -}}
{{- else if .Values.objectStore.enabled -}}
{{- include "cycleqd.objectStoreSecretName" . -}}
{{- end -}}
{{- end -}}

{{/* What the operator may do where it serves runs. */}}
{{- define "cycleqd.rules" -}}
- apiGroups: [cycleqd.dev]
  resources: [cycleqdruns]
  verbs: [get, list, watch, patch, delete]
- apiGroups: [cycleqd.dev]
  resources: [cycleqdruns/status]
  verbs: [patch]
# Jobs block the deletion of their run, which takes the right to set its finalizers where that is enforced.
- apiGroups: [cycleqd.dev]
  resources: [cycleqdruns/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
- apiGroups: [""]
  resources: [secrets]
  {{- with .Values.rbac.secretNames }}
  resourceNames: {{ append . (include "cycleqd.storageSecretName" $) | compact | uniq | toJson }}
  {{- end }}
  verbs: [get]
{{- if .Values.watch.clusterWide }}
# kopf notices when the definition comes or goes.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  verbs: [list, watch]
{{- end }}
{{- end -}}

{{/* What two operators may do with their Lease. */}}
{{- define "cycleqd.leaderRules" -}}
# The name of what is created cannot be restricted.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "cycleqd.leaseName" . | quote }}]
  verbs: [get, update]
{{- end -}}
