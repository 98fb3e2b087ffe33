/** `orlop authz`: what a pod demands of its callers, in the order in which it is asked; of a running agent, or of a directory of YAML. */
import { Command, Option } from 'commander';
import { authzReport } from '../mesh/authz-report.ts';
import type { AuthzReport, PolicyReport } from '../mesh/authz-report.ts';
import { findWorkload } from '../mesh/find-workload.ts';
import { askAgent } from './ask-agent.ts';
import { columns } from './columns.ts';
import { refuseQuestion, snapshotOf } from './offline.ts';

interface Flags {
  readonly runDir: string;
  readonly config?: string;
  readonly output: 'table' | 'json';
}

export function authzCommand(): Command {
  return new Command('authz')
    .description('mutual TLS modes, token rules and policies of a pod, in order of evaluation')
    .argument('<pod>', 'namespace/name, or a name')
    .option('--config <dir>', 'answer from a directory of YAML instead of a running agent')
    .option('--run-dir <dir>', 'of the agent', '/run/orlop')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['table', 'json']).default('table'))
    .action(async (pod: string, flags: Flags) => {
      const report = await reportOf(pod, flags);
      if (report === undefined) return;
      process.stdout.write(flags.output === 'json' ? `${JSON.stringify(report, undefined, 2)}\n` : renderAuthz(report, process.stdout.columns));
    });
}

async function reportOf(pod: string, { runDir, config }: Flags): Promise<AuthzReport | undefined> {
  if (config === undefined) {
    const answer = await askAgent({ command: 'authz', runDir, path: `/authz?pod=${encodeURIComponent(pod)}` });
    return answer === undefined ? undefined : (JSON.parse(answer) as AuthzReport);
  }
  const snapshot = snapshotOf('authz', config);
  if (snapshot === undefined) return undefined;
  const workload = findWorkload(snapshot, pod);
  if (typeof workload !== 'string') return authzReport(snapshot, workload);
  refuseQuestion('authz', workload);
  return undefined;
}

/** `width`: of the terminal; undefined where there is none, and lines may be as long as they are. */
export function renderAuthz({ workload, identity, enrolled, mtls, tokens, policies, otherwise }: AuthzReport, width?: number): string {
  const head = `${workload}  ${identity}${enrolled ? '' : '\nnot enrolled: nothing of this is in force'}\n`;
  const modes = columns(['PORT', 'MUTUAL TLS', 'FROM'], mtls.map(({ port, mode, origin }) => [port === 0 ? 'any' : String(port), mode, origin]));
  const rules = tokens.length === 0 ? '' : `\n${columns(['ISSUER', 'WITHOUT TOKEN', 'FROM'], tokens.map(({ issuer, required, origin }) => [issuer || 'any', required ? 'refused' : 'passes', origin]))}`;
  const rows = policies.flatMap(rowsOf);
  const table = rows.length === 0 ? '\nno policy\n' : `\n${columns(['ACTION', 'POLICY', 'RULE', 'TAKES'], rows)}`;
  const text = `${head}\n${modes}${rules}${table}\nwhat no rule takes is ${otherwise}\n`;
  return width === undefined ? text : text.split('\n').map((line) => (line.length > width ? `${line.slice(0, width - 1)}…` : line)).join('\n');
}

function rowsOf({ action, policy, dryRun, provider, rules }: PolicyReport): string[][] {
  const name = policy.replace('AuthorizationPolicy ', '');
  const what = `${action}${dryRun ? ' (dry-run)' : ''}`;
  if (rules.length === 0) return [[what, name, '-', 'nothing']];
  return rules.map(({ index, text, note }) => [what, name, String(index), [text, provider === '' ? '' : `asks ${provider}`, note].filter((part) => part !== '').join('; ')]);
}
