{{/* What the gateway's container and the test's share: settings, secrets, and more. */}}

{{- define "gatehouse.mounts" -}}
- name: config
  {{- if .Values.rollOnChange }}
  # A file that is mounted alone stays what it was: running pods keep their settings until they are replaced.
  mountPath: /etc/gatehouse/gatehouse.yaml
  subPath: gatehouse.yaml
  {{- else }}
  mountPath: /etc/gatehouse
  {{- end }}
  readOnly: true
{{- if or .Values.existingSecrets .Values.secretValues .Values.redis.enabled }}
- name: secrets
  mountPath: {{ include "gatehouse.secrets" . }}
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end -}}

{{- define "gatehouse.volumes" -}}
- name: config
  configMap:
    name: {{ include "gatehouse.fullname" . }}
{{- if or .Values.existingSecrets .Values.secretValues .Values.redis.enabled }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      {{- range .Values.existingSecrets }}
      - secret: {{- toYaml . | nindent 10 }}
      {{- end }}
      {{- if .Values.secretValues }}
      - secret:
          name: {{ include "gatehouse.fullname" . }}
      {{- end }}
      {{- if .Values.redis.enabled }}
      - secret:
          name: {{ include "gatehouse.redisSecret" . }}
          items:
            - {key: redis-password, path: redis-password}
            - {key: ca.crt, path: redis-ca.crt}
            {{- if not (.Values.config.session | default dict).keysFile }}
            - {key: session-keys, path: session-keys}
            {{- end }}
      {{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end -}}
