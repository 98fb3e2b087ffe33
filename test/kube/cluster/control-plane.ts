/** The cluster's own programs: etcd, API server, controller manager, scheduler. With nodes they run on the first one, as kubeadm has it. */
import { hierarchies, makeGroups } from './cgroups.ts';
import { Component } from './component.ts';
import { apiServerAddress, SERVICE_CIDR, CLUSTER_DOMAIN } from './names.ts';
import type { ClusterNames, ClusterState } from './names.ts';
import type { KubeNode } from './node.ts';

export const PROGRAMS = ['etcd', 'apiserver', 'controller-manager', 'scheduler'] as const;
export type Program = (typeof PROGRAMS)[number];

/** Programs that a cluster of this size has: with no nodes there is nothing to schedule to. */
export function programsOf({ nodeCount }: ClusterState): readonly Program[] {
  return nodeCount === 0 ? ['etcd', 'apiserver'] : PROGRAMS;
}

/** A program of the control plane; `home` is the node it runs on. */
export function controlPlaneComponent(program: Program, cluster: ClusterNames, state: ClusterState, home: KubeNode | undefined): Component {
  const spec = { name: program, argv: commandOf(program, cluster, state), logPath: cluster.log(program), pidPath: cluster.pid(program) };
  return home === undefined ? new Component({ ...spec, groups: hostGroups(cluster) }) : home.inside(spec);
}

/** Groups of those of the cluster's processes that are on no node. */
export function hostGroups(cluster: ClusterNames): string[] {
  const name = `${cluster.cgroup}/host`;
  makeGroups(name);
  return hierarchies().map(({ path }) => `${path}/${name}`);
}

function commandOf(program: Program, cluster: ClusterNames, state: ClusterState): string[] {
  const bin = `${state.home}/bin`;
  switch (program) {
    case 'etcd':
      return [`${bin}/etcd`, ...etcdFlags(cluster, state)];
    case 'apiserver':
      return [`${bin}/kube-apiserver`, ...apiServerFlags(cluster, state)];
    case 'controller-manager':
      return [`${bin}/kube-controller-manager`, ...controllerFlags(cluster)];
    case 'scheduler':
      return [`${bin}/kube-scheduler`, `--kubeconfig=${cluster.keys}/scheduler.kubeconfig`, '--leader-elect=false', '--bind-address=127.0.0.1', `--cert-dir=${cluster.keys}/scheduler`];
  }
}

function etcdFlags({ directory }: ClusterNames, { ports }: ClusterState): string[] {
  const [clients, peers] = [`http://127.0.0.1:${ports.etcd}`, `http://127.0.0.1:${ports.etcdPeer}`];
  return [
    '--name=only', `--data-dir=${directory}/etcd`, '--log-level=warn',
    // The data end with the cluster: waiting for the disk buys nothing.
    '--unsafe-no-fsync',
    `--listen-client-urls=${clients}`, `--advertise-client-urls=${clients}`,
    `--listen-peer-urls=${peers}`, `--initial-advertise-peer-urls=${peers}`, `--initial-cluster=only=${peers}`,
  ];
}

function apiServerFlags({ keys }: ClusterNames, state: ClusterState): string[] {
  const address = apiServerAddress(state);
  const hasNodes = state.nodeCount > 0;
  return [
    `--etcd-servers=http://127.0.0.1:${state.ports.etcd}`,
    `--bind-address=${hasNodes ? '0.0.0.0' : '127.0.0.1'}`, `--advertise-address=${address}`, `--secure-port=${state.ports.apiServer}`,
    // Loopback cannot be the endpoint of the Service "kubernetes"; without nodes nobody would ask for it.
    ...(hasNodes ? [] : ['--endpoint-reconciler-type=none']),
    `--tls-cert-file=${keys}/apiserver.crt`, `--tls-private-key-file=${keys}/apiserver.key`, `--client-ca-file=${keys}/ca.crt`,
    `--kubelet-client-certificate=${keys}/kubelet-client.crt`, `--kubelet-client-key=${keys}/kubelet-client.key`,
    // Else logs and exec look the node's name up in DNS.
    '--kubelet-preferred-address-types=InternalIP',
    `--service-account-issuer=https://kubernetes.default.svc.${CLUSTER_DOMAIN}`,
    `--service-account-key-file=${keys}/service-accounts.pub`, `--service-account-signing-key-file=${keys}/service-accounts.key`,
    `--service-cluster-ip-range=${SERVICE_CIDR}`, '--authorization-mode=Node,RBAC', '--allow-privileged=true', '--profiling=false',
    '--enable-admission-plugins=NodeRestriction',
    // Its accounts are made by the controller manager, without which no pod could be created.
    ...(hasNodes ? [] : ['--disable-admission-plugins=ServiceAccount']),
  ];
}

function controllerFlags({ keys }: ClusterNames): string[] {
  return [
    `--kubeconfig=${keys}/controller-manager.kubeconfig`, '--leader-elect=false', '--use-service-account-credentials=true', '--bind-address=127.0.0.1',
    `--cert-dir=${keys}/controller-manager`, `--root-ca-file=${keys}/ca.crt`, `--service-account-private-key-file=${keys}/service-accounts.key`,
    `--cluster-signing-cert-file=${keys}/ca.crt`, `--cluster-signing-key-file=${keys}/ca.key`,
    // Ranges of pods are given to the nodes when they are made.
    '--allocate-node-cidrs=false',
  ];
}
