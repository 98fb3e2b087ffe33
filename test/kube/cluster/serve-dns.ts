/** Program that answers a cluster's DNS: `serve-dns.ts NAME`, on the first node's address. */
import { KubeConfig } from '@kubernetes/client-node';
import { DnsServer } from '../../../src/lab/dns-server.ts';
import { ClusterNames, readState } from './names.ts';
import { ServiceNames } from './service-names.ts';

const [, , name = ''] = process.argv;
const names = new ClusterNames(name);
const state = readState(name);
if (state === undefined) throw new Error(`no cluster "${name}" is up`);
const { netns, address } = names.node(1, state.number);

const client = new KubeConfig();
client.loadFromFile(names.kubeconfig);
const services = await ServiceNames.watch(client);
await DnsServer.start({ netnsPath: `/run/netns/${netns}`, address, zone: () => services });
