{{/* REGISTRY/REPOSITORY:TAG@DIGEST of `image`, in a dict with `root`. */}}
{{- define "secret-handshake.image" -}}
{{- $registry := .root.Values.global.imageRegistry | default .image.registry -}}
{{- with $registry }}{{ . }}/{{ end -}}
{{ .image.repository }}
{{- if .image.tag }}:{{ .image.tag }}{{ else if not .image.digest }}:{{ .root.Chart.AppVersion }}{{ end -}}
{{- with .image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/* The labels of every object. */}}
{{- define "secret-handshake.labels" -}}
app.kubernetes.io/part-of: secret-handshake
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}
