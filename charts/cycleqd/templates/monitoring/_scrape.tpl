{{- define "cycleqd.metricsName" -}}
{{- printf "%s-metrics" (include "cycleqd.fullname" .) -}}
{{- end -}}

{{/* How an endpoint is scraped, of the values of a monitor. */}}
{{- define "cycleqd.scrape" -}}
path: /metrics
interval: {{ .interval }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
# The label namespace of a run's series is the run's, not the operator's.
honorLabels: true
# They belong to the run as well: they go on, without a seam, when another operator tells of it.
metricRelabelings:
  {{- range list "pod" "instance" }}
  - sourceLabels: [__name__]
    regex: cycleqd_run_.*
    targetLabel: {{ . }}
    replacement: ""
  {{- end }}
{{- end -}}
