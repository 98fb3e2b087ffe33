#!/usr/bin/env bash
# On a worker: join as soon as there is a control plane. It comes up after the workers, so this goes on in the background.
#   worker.sh CONTROL_ADDRESS
set -euo pipefail

[ ! -e /etc/kubernetes/kubelet.conf ] || exit 0
systemctl is-active --quiet orlop-lab-join ||
  systemd-run --quiet --unit=orlop-lab-join --property=Restart=on-failure --property=RestartSec=5 --property=StartLimitIntervalSec=0 \
    /opt/orlop/vagrant/provision/join.sh "$1"
echo 'waits for the control plane; see journalctl -u orlop-lab-join'
