/** `orlop explain`: what would become of a request, and which rule says so; of a running agent, or of a directory of YAML. */
import { Command, Option } from 'commander';
import { explain } from '../mesh/explain.ts';
import type { EndpointExplanation, Explanation, Question, ServerExplanation } from '../mesh/explain.ts';
import { parametersOf, questionFrom } from '../mesh/question.ts';
import { askAgent } from './ask-agent.ts';
import { refuseQuestion, snapshotOf } from './offline.ts';

interface Flags {
  readonly runDir: string;
  readonly config?: string;
  readonly header: readonly string[];
  readonly output: 'text' | 'json';
}

export function explainCommand(): Command {
  return new Command('explain')
    .description('route, endpoints, mutual TLS and verdict of a request, with the rule that decides; exit 1 when some endpoint would refuse it')
    .argument('<from>', 'the client: NAMESPACE/POD or NAMESPACE/SERVICEACCOUNT; gateway/NAMESPACE/NAME for one outside that calls a gateway')
    .argument('<to>', 'SERVICE:PORT as the client calls it, or NAMESPACE/POD:PORT; of a gateway HOST:PORT')
    .argument('[method]', 'of the request', 'GET')
    .argument('[path]', 'of the request, with its query', '/')
    .option('-H, --header <line>', '"Name: value"; may be repeated', (line: string, before: readonly string[]) => [...before, line], [])
    .option('--config <dir>', 'answer from a directory of YAML instead of a running agent')
    .option('--run-dir <dir>', 'of the agent', '/run/orlop')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['text', 'json']).default('text'))
    .action(async (from: string, to: string, method: string, path: string, flags: Flags) => {
      const parameters = new URLSearchParams({ from, to, method, path });
      for (const line of flags.header) parameters.append('header', line);
      const question = questionFrom(parameters);
      const explanation = await explanationOf(question, flags);
      if (explanation === undefined) return;
      process.stdout.write(flags.output === 'json' ? `${JSON.stringify(explanation, undefined, 2)}\n` : renderExplanation(question, explanation));
      if (explanation.targets.some(({ endpoints }) => endpoints.some(({ allowed }) => !allowed))) process.exitCode = 1;
    });
}

async function explanationOf(question: Question, { runDir, config }: Flags): Promise<Explanation | undefined> {
  if (config === undefined) {
    const answer = await askAgent({ command: 'explain', runDir, path: `/explain?${parametersOf(question).toString()}` });
    return answer === undefined ? undefined : (JSON.parse(answer) as Explanation);
  }
  const snapshot = snapshotOf('explain', config);
  if (snapshot === undefined) return undefined;
  const explanation = explain(snapshot, question);
  if (typeof explanation !== 'string') return explanation;
  refuseQuestion('explain', explanation);
  return undefined;
}

export function renderExplanation({ method, path }: Question, { client, identity, to, protocol, route, answer, targets }: Explanation): string {
  const lines = [
    protocol === 'tcp' ? `${client} → ${to} (TCP: method and path count for nothing)` : `${client} → ${method} ${to}${path}`,
    `  identity  ${identity === '' ? 'none: it is not enrolled' : identity}`,
    ...(route === '' ? [] : [`  route     ${route}`]),
    ...(answer === '' ? [] : [`  answer    ${answer}`]),
    ...targets.flatMap(({ cluster, share, endpoints }) => [
      `  cluster   ${cluster}${share === 100 ? '' : ` (${Math.round(share * 10) / 10} %)`}`,
      ...(endpoints.length === 0 ? ['    no endpoint: 503 UH'] : endpoints.flatMap(endpointLines)),
    ]),
  ];
  return `${lines.join('\n')}\n`;
}

const KINDS: Readonly<Record<EndpointExplanation['kind'], string>> = {
  local: 'local: handed over on the same node',
  hbone: 'hbone: mutual TLS between the nodes',
  tls: 'tls: originated as the DestinationRule says',
  plain: 'plain: no TLS',
};

function endpointLines({ address, workload, kind, server, allowed }: EndpointExplanation): string[] {
  return [
    `    ${address}${workload === '' ? '' : ` (${workload})`}  ${KINDS[kind]}`,
    ...(server === undefined ? ['      verdict    sent: its server is outside the mesh, which demands nothing'] : serverLines(server, allowed)),
  ];
}

function serverLines({ mtls, mtlsOrigin, mtlsMet, reason, policy, rule, ruleText, provider, tokenRequired }: ServerExplanation, allowed: boolean): string[] {
  const demand = `      mutual TLS ${mtls} (${mtlsOrigin})`;
  if (!mtlsMet) return [`${demand}: not met`, '      verdict    REFUSED: plaintext, the connection is reset'];
  const by = policy === '' ? '' : ` by ${policy} rules[${rule}]: ${ruleText}`;
  const verdict = tokenRequired
    ? 'REFUSED: a RequestAuthentication demands a token, and the request has none'
    : reason === 'open'
      ? 'ALLOWED: no ALLOW policy selects the workload, and no other refuses it'
      : reason === 'no match'
        ? 'REFUSED: no rule of the ALLOW policies takes it'
        : `${allowed ? 'ALLOWED' : 'REFUSED'}${reason === 'no provider' ? ', for want of its authorizer,' : ''}${by}`;
  return [demand, `      verdict    ${verdict}`, ...(provider === '' ? [] : [`      but        ${provider} is asked first`])];
}
