/** Program `up-until-killed.ts NAME`: brings a cluster up without nodes, says so, and holds it until it is killed. */
import { Cluster } from './cluster.ts';

const [, , name = ''] = process.argv;
const cluster = await Cluster.up({ name, nodes: 0 });
process.stdout.write(`${cluster.name} is up\n`);
setInterval(() => undefined, 60_000);
