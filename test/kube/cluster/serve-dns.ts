/** Program of what a cluster has from its surroundings: `serve-dns.ts NAME` answers its DNS, on the first node's address, and gives Services load balancers. */
import { KubeConfig } from '@kubernetes/client-node';
import { DnsServer } from '../../../src/lab/dns-server.ts';
import { LoadBalancers } from './load-balancers.ts';
import { ClusterNames, readState } from './names.ts';
import { ServiceNames } from './service-names.ts';
import { Services } from './services.ts';

const [, , name = ''] = process.argv;
const names = new ClusterNames(name);
const state = readState(name);
if (state === undefined) throw new Error(`no cluster "${name}" is up`);
const nodes = Array.from({ length: state.nodeCount }, (_, index) => names.node(index + 1, state.number));
const { netns, address } = names.node(1, state.number);

const client = new KubeConfig();
client.loadFromFile(names.kubeconfig);
const services = await Services.watch(client);
const zone = new ServiceNames(services);
await DnsServer.start({ netnsPath: `/run/netns/${netns}`, address, zone: () => zone });
LoadBalancers.start({ client, services, number: state.number, link: names.hostLink, nodes });
