/** Program of the keeper: `keep.ts NAME` takes the cluster down when its standard input ends. */
import { sweep } from './sweep.ts';

const [, , name = ''] = process.argv;
for await (const _ of process.stdin);
await sweep(name);
