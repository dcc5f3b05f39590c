{{/* Rules of NetworkPolicies: what pods of the chart, and workers, may reach. */}}

{{/* Ports of the peers in {"to": [...], "ports": [...]}; no peers: wherever they are. */}}
{{- define "cycleqd.egressTo" -}}
- ports:
    {{- range .ports }}
    - protocol: TCP
      port: {{ . }}
    {{- end }}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "cycleqd.egressToDns" -}}
- ports:
    {{- range .Values.networkPolicy.dns.ports }}
    - protocol: UDP
      port: {{ . }}
    - protocol: TCP
      port: {{ . }}
    {{- end }}
  {{- with .Values.networkPolicy.dns.to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* S3, and the chart's own object store. */}}
{{- define "cycleqd.egressToStores" -}}
{{- include "cycleqd.egressTo" .Values.networkPolicy.s3 }}
{{- if .Values.objectStore.enabled }}
- ports:
    - protocol: TCP
      port: 7070
  to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .Release.Namespace | quote }}
      podSelector:
        matchLabels:
          {{- include "cycleqd.selectorOf" (dict "root" . "component" "object-store") | nindent 10 }}
{{- end }}
{{- end -}}
