/**
 * A server that ends as Kubernetes asks of one: after SIGTERM it goes on answering, while everybody learns that it is leaving, and then closes its
 * connections after the answers under way. In a pod:
 *   node patient-server.ts PORT
 * ?delay=1000 (ms) makes an answer take its time; /under-way says how many such there are.
 */
import { createServer } from 'node:http';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

/** Where it is, for pods that have this checkout. */
export const PATIENT_SERVER = 'test/kube/traffic/patient-server.ts';
/** Long enough for endpoints to be withdrawn on a machine that is busy. */
const LEAVING_MS = 4_000;

async function leave(server: ReturnType<typeof createServer>): Promise<void> {
  await sleep(LEAVING_MS);
  // Idle connections that are kept are told by the next answer on them, those that stay idle are closed.
  server.close(() => process.exit(0));
}

if (import.meta.main) {
  let leaving = false;
  let underWay = 0;
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://x');
    const body = pathname === '/under-way' ? `${underWay}\n` : `${hostname()}${leaving ? ' leaving' : ''}\n`;
    if (leaving) response.setHeader('connection', 'close');
    underWay += 1;
    setTimeout(() => {
      underWay -= 1;
      response.end(body);
    }, Number(searchParams.get('delay') ?? 0));
  });
  server.listen(Number(process.argv[2]));
  process.once('SIGTERM', () => {
    leaving = true;
    void leave(server);
  });
}
