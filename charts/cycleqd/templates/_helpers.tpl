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

{{- define "cycleqd.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "cycleqd.labels" -}}
{{ include "cycleqd.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
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

{{/* Image reference of {"image": ..., "root": $}. */}}
{{- define "cycleqd.image" -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .root.Chart.AppVersion) -}}
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
  resourceNames: {{ toJson . }}
  {{- end }}
  verbs: [get]
{{- end -}}
