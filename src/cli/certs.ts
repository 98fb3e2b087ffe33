/** `orlop certs`: the certificates of a running agent's pods, asked over its admin socket. Keys are not among what it tells. */
import { Command, Option } from 'commander';
import type { CertificateReport, IdentityReport } from '../agent/certificate-routes.ts';
import { askAgent } from './ask-agent.ts';
import { columns } from './columns.ts';

interface Flags {
  readonly runDir: string;
  readonly output: 'table' | 'json';
}

export function certsCommand(): Command {
  return new Command('certs')
    .description('the certificates of the node\'s pods; with a pod, its chain and the roots it trusts')
    .argument('[pod]', 'namespace/name, or a name')
    .option('--run-dir <dir>', 'of the agent', '/run/orlop')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['table', 'json']).default('table'))
    .action(async (pod: string | undefined, { runDir, output }: Flags) => {
      const path = pod === undefined ? '/certs' : `/certs?pod=${encodeURIComponent(pod)}`;
      const answer = await askAgent({ command: 'certs', runDir, path });
      if (answer === undefined) return;
      if (output === 'json') process.stdout.write(answer);
      else if (pod === undefined) process.stdout.write(renderAll(JSON.parse(answer) as IdentityReport[], Date.now()));
      else process.stdout.write(renderOne(JSON.parse(answer) as IdentityReport, Date.now()));
    });
}

/** A line for each identity. */
export function renderAll(reports: readonly IdentityReport[], nowMs: number): string {
  if (reports.length === 0) return 'no pod of this node has an identity\n';
  const rows = reports.map(({ identity, state, chain: [leaf], lastError }) => [
    identity, leaf?.serial ?? '-', leaf === undefined ? '-' : relative(leaf.notBeforeMs - nowMs), leaf === undefined ? '-' : relative(leaf.notAfterMs - nowMs),
    lastError === '' ? state : `${state}: ${lastError}`,
  ]);
  return columns(['IDENTITY', 'SERIAL', 'ISSUED', 'EXPIRES', 'STATE'], rows);
}

/** Everything about one identity. */
export function renderOne({ identity, state, pods, nextMs, lastError, chain, roots }: IdentityReport, nowMs: number): string {
  const lines = [
    identity,
    `  pods   ${pods.join(', ')}`,
    `  state  ${state}, ${lastError === '' ? 'renewed' : 'tried again'} ${relative(nextMs - nowMs)}`,
    ...(lastError === '' ? [] : [`  error  ${lastError}`]),
    'chain', ...chain.flatMap((certificate) => describe(certificate, nowMs)),
    'roots', ...roots.flatMap((certificate) => describe(certificate, nowMs)),
  ];
  return `${lines.join('\n')}\n`;
}

function describe({ subject, issuer, uris, serial, notBeforeMs, notAfterMs }: CertificateReport, nowMs: number): string[] {
  return [
    `  ${[subject, ...uris].filter((name) => name !== '').join('  ')}`,
    `    issuer   ${issuer}`,
    `    serial   ${serial}`,
    `    valid    ${iso(notBeforeMs)} to ${iso(notAfterMs)}, ${notAfterMs > nowMs ? 'expires' : 'expired'} ${relative(notAfterMs - nowMs)}`,
  ];
}

function iso(ms: number): string {
  return new Date(ms).toISOString().replace('.000Z', 'Z');
}

const UNITS = [['d', 86_400_000], ['h', 3_600_000], ['m', 60_000], ['s', 1_000]] as const;

/** `in 11h 59m`, `3d 2h ago`: the two largest units. */
function relative(ms: number): string {
  const size = Math.abs(ms);
  const first = Math.max(0, UNITS.findIndex(([, unit]) => size >= unit));
  const start = size < 1_000 ? UNITS.length - 1 : first;
  let left = size;
  const parts = UNITS.slice(start, start + 2).map(([name, unit]) => {
    const count = Math.floor(left / unit);
    left -= count * unit;
    return `${count}${name}`;
  });
  return ms < 0 ? `${parts.join(' ')} ago` : `in ${parts.join(' ')}`;
}
