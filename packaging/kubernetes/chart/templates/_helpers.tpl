{{- define "hermes-proxyd.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "hermes-proxyd.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "hermes-proxyd.labels" -}}
{{ include "hermes-proxyd.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "hermes-proxyd.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- define "hermes-proxyd.env" -}}
- name: HOME
  value: /home/hermes
# The configuration is /etc/hermes-proxyd/config.toml.
- name: XDG_CONFIG_HOME
  value: /etc
# Empty, so that the lock that only one daemon can hold is on the volume, too.
- name: XDG_RUNTIME_DIR
  value: ""
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "hermes-proxyd.restricted" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end -}}

{{- define "hermes-proxyd.mounts" -}}
- name: home
  mountPath: /home/hermes
- name: config
  mountPath: /etc/hermes-proxyd
  readOnly: true
{{- end -}}
