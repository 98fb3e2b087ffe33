#!/usr/bin/env bash
# On the control plane: kubeadm init, and what workers need to join, served on the machines' own network.
#   control.sh OWN_ADDRESS
set -euo pipefail

own=$1
published=/srv/orlop-lab

if [ ! -e /etc/kubernetes/admin.conf ]; then
  config=$(mktemp)
  /opt/orlop/vagrant/provision/kubeadm-config.sh "$own" "$(kubeadm version -o short)" > "$config"
  kubeadm init --config "$config"
  rm "$config"
fi

for home in /root /home/vagrant; do
  install -D -m 600 /etc/kubernetes/admin.conf "$home/.kube/config"
done
chown -R vagrant:vagrant /home/vagrant/.kube

# A token of a day; the hash is that of the CA's public key, by which workers know that they talk to this control plane.
mkdir -p "$published"
join=$(kubeadm token create --print-join-command)
token=$(sed -E 's/.*--token ([^ ]+).*/\1/' <<< "$join")
hash=$(sed -E 's/.*--discovery-token-ca-cert-hash ([^ ]+).*/\1/' <<< "$join")
echo "$token $hash" > "$published/join"

systemctl is-active --quiet orlop-lab-files ||
  systemd-run --quiet --unit=orlop-lab-files --property=DynamicUser=yes python3 -m http.server 8000 --bind "$own" --directory "$published"
