#!/usr/bin/env bash
# With a cluster whose nodes have Orlop's image: install Orlop and bookinfo, let bookinfo join, and say what to try.
#   deploy.sh NODES [CHECKOUT]
set -euo pipefail
nodes=$1
cd "${2:-/opt/orlop}"
export KUBECONFIG="${KUBECONFIG:-/etc/kubernetes/admin.conf}"

ready_nodes() { kubectl get nodes --no-headers 2>/dev/null | awk '$2 == "Ready"' | wc -l; }

deadline=$((SECONDS + 600))
until [ "$(ready_nodes)" -ge "$nodes" ]; do
  [ "$SECONDS" -lt "$deadline" ] || { echo "deploy.sh: $(ready_nodes) of $nodes nodes are ready; on the others: journalctl -u orlop-lab-join -u kubelet" >&2; exit 1; }
  sleep 2
done
kubectl get nodes -o wide

bin/orlop install

node_modules/.bin/node --disable-warning=ExperimentalWarning --input-type=module --eval "
  import { bookinfoObjects } from './test/kube/story/bookinfo.ts';
  console.log(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: bookinfoObjects() }));
" | kubectl apply -f -
kubectl annotate --overwrite namespace bookinfo orlop.io/mesh=enabled
for name in $(kubectl get deployments --namespace bookinfo -o name); do
  kubectl rollout status --namespace bookinfo --timeout=300s "$name"
done

cat <<'TEXT'

Bookinfo is in the mesh. Try, after `vagrant ssh`:
  kubectl get pods -n bookinfo -o wide
  kubectl exec -n bookinfo client -- /usr/bin/node -e 'fetch("http://productpage:9080/productpage").then(async (answer) => console.log(await answer.text()))'
  kubectl apply -n bookinfo -f /opt/orlop/lab/examples/09-subset-policies.yaml -f /opt/orlop/lab/examples/03-split-75-25.yaml
  kubectl get --raw "/api/v1/namespaces/orlop-system/pods/$(kubectl get pods -n orlop-system -l app.kubernetes.io/name=orlop-agent -o jsonpath='{.items[0].metadata.name}'):15020/proxy/metrics" | grep istio_requests_total
  /opt/orlop/bin/orlop uninstall
TEXT
