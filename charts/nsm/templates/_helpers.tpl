{{/*
Names are fixed, not made from the release's: sockets, webhook configuration and CSI drivers exist once in a cluster, so the mesh does too.
*/}}

{{/* Labels of every object. Takes (dict "root" $ "part" "registry"). */}}
{{- define "nsm.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "nsm.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: networkservicemesh
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What selects a part's pods; never changes over upgrades. */}}
{{- define "nsm.selector" -}}
app.kubernetes.io/name: nsm
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{/* Image of a part; a digest wins over a tag. Takes (dict "root" $ "part" "registry"). */}}
{{- define "nsm.image" -}}
{{ include "nsm.imageOf" (dict "root" .root "name" .part "own" (index .root.Values .part).image) }}
{{- end }}

{{/* The same by the image's name and what the values say of it. Takes (dict "root" $ "name" "nsm" "own" $.Values.tools.image). */}}
{{- define "nsm.imageOf" -}}
{{- $repository := .own.repository | default (printf "%s/%s" .root.Values.image.prefix .name) -}}
{{- if .own.digest -}}
{{ $repository }}@{{ .own.digest }}
{{- else -}}
{{ $repository }}:{{ .own.tag | default .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Image with the tool nsm, for tests and hooks. */}}
{{- define "nsm.toolImage" -}}
{{ include "nsm.imageOf" (dict "root" . "name" "nsm" "own" .Values.tools.image) }}
{{- end }}

{{/* Metadata of a pod template. Takes (dict "root" $ "part" "registry"). */}}
{{- define "nsm.podMetadata" -}}
{{- $values := index .root.Values .part -}}
annotations:
  kubectl.kubernetes.io/default-container: {{ .part }}
  {{- $isPrivileged := and (eq .part "agent") .root.Values.agent.csi.enabled }}
  {{- if and $values.appArmorProfile (not $isPrivileged) (semverCompare "<1.30.0-0" .root.Capabilities.KubeVersion.Version) }}
  # The field of the security context is there from Kubernetes 1.30 on.
  container.apparmor.security.beta.kubernetes.io/{{ .part }}: {{ ternary "unconfined" "runtime/default" (eq $values.appArmorProfile "Unconfined") }}
  {{- end }}
  {{- with $values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
labels:
  {{- include "nsm.labels" . | nindent 2 }}
  {{- if eq .root.Values.identity.mode "spire" }}
  spiffe.io/spiffe-id: 'true'
  {{- if has .part (list "nsmgr" "forwarder") }}
  networkservicemesh.io/part-on-node: {{ .part }}
  {{- end }}
  {{- end }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Where a part's pods run and what they may. Takes (dict "root" $ "part" "registry" "priority" "system-cluster-critical"). */}}
{{- define "nsm.podSpec" -}}
{{- $values := index .root.Values .part -}}
serviceAccountName: {{ .part }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Spreads a Deployment's pods over nodes where there are several; a node that is down keeps none from running elsewhere. */}}
{{- define "nsm.spread" -}}
{{- $values := index .root.Values .part -}}
{{- if $values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml $values.topologySpreadConstraints | nindent 2 }}
{{- else }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "nsm.selector" . | nindent 8 }}
{{- end }}
{{- end }}

{{/* The least that a process can run with: meets Pod Security level restricted. */}}
{{- define "nsm.restricted" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Root with named capabilities. Takes (dict "root" $ "part" "forwarder"). */}}
{{- define "nsm.capable" -}}
{{- $values := index .root.Values .part -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
  {{- with $values.capabilities }}
  add:
    {{- toYaml . | nindent 4 }}
  {{- end }}
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: false
runAsUser: 0
runAsGroup: 0
seccompProfile:
  type: RuntimeDefault
{{- if and $values.appArmorProfile (semverCompare ">=1.30.0-0" .root.Capabilities.KubeVersion.Version) }}
appArmorProfile:
  type: {{ $values.appArmorProfile }}
{{- end }}
{{- end }}

{{/* Image and resources of a container, and what is the same for all. Takes (dict "root" $ "part" "registry"). */}}
{{- define "nsm.container" -}}
{{- $values := index .root.Values .part -}}
name: {{ .part }}
image: {{ include "nsm.image" . | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
{{- end }}

{{/* Log level, and variables that the user adds; they come last and win. */}}
{{- define "nsm.env" -}}
{{- $values := index .root.Values .part -}}
- name: NSM_LOG_LEVEL
  value: {{ $values.logLevel | default .root.Values.logLevel | quote }}
{{- range $name, $value := $values.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* What a process with an identity is told, and who and where it is. */}}
{{- define "nsm.identityEnv" -}}
- name: SPIFFE_ENDPOINT_SOCKET
  value: {{ printf "unix:///run/spire/sockets/%s" .Values.identity.socketName | quote }}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- with .Values.clusterName }}
- name: CLUSTER_NAME
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{/* The Workload API's socket. Its folder is mounted, never the socket: that changes when its server restarts. */}}
{{- define "nsm.identityMount" -}}
- name: workload-api
  mountPath: /run/spire/sockets
  readOnly: true
{{- end }}

{{- define "nsm.identityVolume" -}}
- name: workload-api
  {{- if and (eq .Values.identity.mode "spire") (eq .Values.identity.spire.socket "csi") }}
  csi:
    driver: csi.spiffe.io
    readOnly: true
  {{- else }}
  hostPath:
    path: {{ include "nsm.identityFolder" . }}
    type: DirectoryOrCreate
  {{- end }}
{{- end }}

{{/* Folder of the Workload API on the node. */}}
{{- define "nsm.identityFolder" -}}
{{- if eq .Values.identity.mode "spire" -}}
{{ .Values.identity.spire.hostPath }}
{{- else -}}
/run/spire/sockets
{{- end -}}
{{- end }}

{{- define "nsm.managerVolume" -}}
- name: networkservicemesh
  hostPath:
    path: /var/lib/networkservicemesh
    type: DirectoryOrCreate
{{- end }}

{{/* Shows the pod's own annotation as a file; see templates/uninstall. */}}
{{- define "nsm.leaveVolume" -}}
- name: pod
  downwardAPI:
    items:
      - path: leave
        fieldRef:
          fieldPath: metadata.annotations['networkservicemesh.io/leave']
{{- end }}

{{/*
Takes the port's name or number.
Probes of a process' health server. It opens when the process has an identity, which may take as long as the node's agent needs: the
startup probe waits ten minutes. Liveness is the event loop alone: no restart mends what is wrong elsewhere.
*/}}
{{- define "nsm.probes" -}}
startupProbe:
  httpGet:
    path: /livez
    port: {{ . }}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 300
livenessProbe:
  httpGet:
    path: /livez
    port: {{ . }}
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 3
readinessProbe:
  httpGet:
    path: /readyz
    port: {{ . }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}

{{/* Who may ask for health and metrics. kubelet always may. */}}
{{- define "nsm.metricsIngress" -}}
- ports:
    - port: ops
      protocol: TCP
  {{- with .Values.networkPolicy.metricsFrom }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "nsm.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .part }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "nsm.labels" . | nindent 4 }}
automountServiceAccountToken: false
{{- end }}

{{/* A Deployment of several replicas survives a drain one pod at a time. Takes (dict "root" $ "part" "webhook"). */}}
{{- define "nsm.disruptionBudget" -}}
{{- $values := index .root.Values .part -}}
{{- if and $values.podDisruptionBudget (gt (int $values.replicas) 1) }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .part }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "nsm.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "nsm.selector" . | nindent 6 }}
{{- end }}
{{- end }}

{{/* Variables of the injected containers, as NAME=value,NAME=value. */}}
{{- define "nsm.sidecarEnv" -}}
{{- $env := dict }}
{{- if ne .Values.identity.socketName "agent.sock" }}
{{- $_ := set $env "SPIFFE_ENDPOINT_SOCKET" (printf "unix:///run/spire/sockets/%s" .Values.identity.socketName) }}
{{- end }}
{{- if .Values.sidecar.logLevel }}
{{- $_ := set $env "NSM_LOG_LEVEL" .Values.sidecar.logLevel }}
{{- end }}
{{- with .Values.clusterName }}
{{- $_ := set $env "CLUSTER_NAME" . }}
{{- end }}
{{- range $name, $value := .Values.sidecar.env }}
{{- $_ := set $env $name (toString $value) }}
{{- end }}
{{- $items := list }}
{{- range $name, $value := $env }}
{{- $items = append $items (printf "%s=%s" $name $value) }}
{{- end }}
{{- join "," $items }}
{{- end }}

{{/* How injected pods get the sockets: where no driver runs, a namespace that forbids hostPath refuses them at once and says why. */}}
{{- define "nsm.sidecarSockets" -}}
{{- if ne .Values.sidecar.sockets "auto" -}}
{{ .Values.sidecar.sockets }}
{{- else if eq .Values.sidecar.podSecurity "restricted" -}}
csi
{{- else if not .Values.agent.csi.enabled -}}
hostpath
{{- else -}}
auto
{{- end -}}
{{- end }}

{{/* Labels of injected pods, as JSON. */}}
{{- define "nsm.injectedLabels" -}}
{{- $labels := dict }}
{{- if eq .Values.identity.mode "spire" }}
{{- $_ := set $labels "spiffe.io/spiffe-id" "true" }}
{{- end }}
{{- toJson (merge (dict) .Values.sidecar.podLabels $labels) }}
{{- end }}

{{/* Namespaces whose pods are never looked at. */}}
{{- define "nsm.excludedNamespaces" -}}
{{- $namespaces := prepend .Values.webhook.excludedNamespaces .Release.Namespace -}}
{{- if eq .Values.identity.mode "spire" }}
{{- $namespaces = concat $namespaces .Values.identity.spire.namespaces }}
{{- end }}
{{- toYaml (uniq $namespaces) }}
{{- end }}
