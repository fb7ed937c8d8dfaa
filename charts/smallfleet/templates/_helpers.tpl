{{/*
One operator serves a cluster, and its Service's name is part of the session's contract (the name in its certificate): names are fixed.
*/}}
{{- define "smallfleet.name" -}}
smallfleet-operator
{{- end }}

{{- define "smallfleet.selectorLabels" -}}
app.kubernetes.io/name: smallfleet
app.kubernetes.io/component: operator
{{- end }}

{{- define "smallfleet.labels" -}}
{{ include "smallfleet.selectorLabels" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}
