#!/usr/bin/env bash
# On every machine: containerd, kubeadm and the network of pods.
#   node.sh OWN_ADDRESS ADDRESS...
set -euo pipefail

KUBERNETES=v1.33
own=$1
shift

# Kubelets refuse to start with swap.
swapoff --all
sed -i '/\sswap\s/d' /etc/fstab

printf '%s\n' overlay br_netfilter > /etc/modules-load.d/kubernetes.conf
modprobe --all overlay br_netfilter
printf '%s\n' net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 > /etc/sysctl.d/90-kubernetes.conf
sysctl --quiet --system

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends ca-certificates containerd containernetworking-plugins curl gpg iptables >/dev/null

# https://kubernetes.io/docs/setup/production-environment/tools/kubeadm/install-kubeadm/
keyring=/etc/apt/keyrings/kubernetes.gpg
repository=https://pkgs.k8s.io/core:/stable:/$KUBERNETES/deb/
mkdir -p /etc/apt/keyrings
curl -fsSL "${repository}Release.key" | gpg --batch --yes --dearmor -o "$keyring"
echo "deb [signed-by=$keyring] $repository /" > /etc/apt/sources.list.d/kubernetes.list
apt-get update -qq
apt-get install -y -qq --no-install-recommends kubeadm kubectl kubelet >/dev/null
apt-mark hold kubeadm kubectl kubelet >/dev/null

# The kubelet's cgroup driver is systemd; plugins are where Kubernetes has them, not where Debian does.
cat > /etc/containerd/config.toml <<'TOML'
version = 2
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/opt/cni/bin"
  conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    SystemdCgroup = true
TOML
mkdir -p /opt/cni/bin
ln -sf /usr/lib/cni/* /opt/cni/bin/
systemctl restart containerd

# The first network of a Vagrant machine is the same on all of them.
echo "KUBELET_EXTRA_ARGS=--node-ip=$own" > /etc/default/kubelet

# Routes and rules do not outlive a reboot by themselves.
cat > /etc/systemd/system/pod-network.service <<UNIT
[Unit]
Description=Routes between the pods of the laboratory's machines
After=network-online.target
Wants=network-online.target
[Service]
Type=oneshot
ExecStart=/opt/orlop/vagrant/provision/network.sh $own $*
[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --quiet --now pod-network.service
