#!/usr/bin/env bash
# Prints the configuration of the cluster, as kubeadm takes it.
#   kubeadm-config.sh ADDRESS VERSION
set -euo pipefail

cat <<YAML
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint:
  advertiseAddress: $1
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: $2
networking:
  podSubnet: 10.244.0.0/16
controllerManager:
  extraArgs:
    # network.sh gives ranges to the machines.
    - name: allocate-node-cidrs
      value: "false"
YAML
