/**
 * New pods of this node, captured before their first process starts: the plugin in the node's network configuration, the socket where it asks, and
 * what a pod that takes part waits for. When the agent ends, the plugin stays, so that pods wait for the next one; when its DaemonSet is
 * deleted, nothing of it stays.
 */
import { join } from 'node:path';
import type { Logger } from '../core/log.ts';
import type { LivePods } from '../kube/live-pods.ts';
import type { Certificates } from './certificates.ts';
import { cniEntry } from './cni-config.ts';
import { CniInstall } from './cni-install.ts';
import type { CniDirectories } from './cni-install.ts';
import { CniServer } from './cni-server.ts';
import type { Sandbox } from './cni-server.ts';
import { ENDED } from './enrolment.ts';
import type { Enrolment, Starts } from './enrolment.ts';
import { JsonFile } from './json-file.ts';
import { PodHistory } from './pod-history.ts';
import { kubeletUidOf } from './pod-namespaces.ts';
import { Sandboxes } from './sandboxes.ts';

/** As the command line says. */
export interface CniSettings extends CniDirectories {
  /** Their pods start without being asked for, also without an agent; those that take part join some moments later. */
  readonly excludeNamespaces: readonly string[];
}

export interface CniOptions extends CniSettings {
  readonly runDirectory: string;
  readonly pods: LivePods;
  readonly enrolment: Enrolment;
  readonly certificates: Certificates;
  readonly log: Logger;
  readonly onAnswered: (outcome: Outcome) => void;
  readonly onConfigRepaired: () => void;
}

export type Outcome = 'enrolled' | 'not_enrolled' | 'failed';

/** Built by cni/Makefile; in the image, where it is in a checkout. */
const PLUGIN = join(import.meta.dirname, '../../cni/orlop-cni');
/** A pod whose certificate does not come starts all the same: captured, and as far as peers let it without. */
const CERTIFICATE_PATIENCE_MS = 5_000;

export class Cni {
  readonly #options: CniOptions;
  #install: CniInstall | undefined;
  #server: CniServer | undefined;

  constructor(options: CniOptions) {
    this.#options = options;
  }

  /** What enrolment is told of pods that start: {@link EnrolmentOptions.starts}. */
  static starts({ excludeNamespaces }: CniSettings, { runDirectory, log, onRepaired }: { readonly runDirectory: string; readonly log: Logger; readonly onRepaired: () => void }): Starts {
    const excluded = new Set(excludeNamespaces);
    return {
      history: new PodHistory(new JsonFile(join(runDirectory, 'captured-pods.json'), log)),
      sandboxes: new Sandboxes(new JsonFile(join(runDirectory, 'sandboxes.json'), log)),
      includes: (namespace) => !excluded.has(namespace),
      onRepaired,
    };
  }

  /** Answer, in the place of an agent before, and only then have it asked for. */
  async open(): Promise<void> {
    const { confDirectory, binDirectory, runDirectory, excludeNamespaces, log, onConfigRepaired } = this.#options;
    this.#server = await serve(this.#options);
    this.#install = new CniInstall({ confDirectory, binDirectory, program: PLUGIN, entry: cniEntry(socketIn(runDirectory), excludeNamespaces), log, onRepaired: onConfigRepaired });
  }

  /** Why new pods are not captured before they start; undefined when they are. */
  get missing(): string | undefined {
    return this.#install === undefined ? 'another agent answers for this node' : this.#install.missing;
  }

  /** Another agent answers from now on; whoever waits here asks there. */
  handOver(): void {
    this.#install?.close();
    this.#server?.close();
    this.#install = undefined;
    this.#server = undefined;
  }

  /** The end of the agent that answers. The plugin stays for the next one, unless there will be none. */
  close({ isLast }: { readonly isLast: boolean }): void {
    const { log } = this.#options;
    if (isLast) this.#install?.remove();
    else log.info('the CNI plugin stays: pods that start wait for the next agent (orlop leftovers --remove takes it out)');
    this.handOver();
  }
}

function socketIn(runDirectory: string): string {
  return join(runDirectory, 'cni.sock');
}

async function serve(options: CniOptions): Promise<CniServer> {
  const { runDirectory, enrolment, log, onAnswered } = options;
  return CniServer.open(socketIn(runDirectory), {
    add: async (sandbox, signal) => {
      const outcome = await admit(options, sandbox, signal).catch((error: unknown) => {
        onAnswered('failed');
        throw error;
      });
      onAnswered(outcome);
    },
    remove: (sandbox) => enrolment.dismiss(sandbox),
  }, log);
}

async function admit({ pods, enrolment, certificates, log }: CniOptions, sandbox: Sandbox, signal: AbortSignal): Promise<Outcome> {
  const { id, uid } = sandbox;
  const pod = await pods.until(id, (one) => uid === '' || kubeletUidOf(one) === uid, signal).catch(() => undefined);
  if (pod === undefined) throw new Error(`the API server has not told the agent of pod ${id} (uid ${uid}) in time`);
  if (!pod.enrolled || ENDED.has(pod.phase)) return 'not_enrolled';
  if (sandbox.addresses.length === 0) throw new Error('the plugins before orlop-cni have given it no address');
  const sinceMs = performance.now();
  await enrolment.admit(sandbox, signal);
  const patience = AbortSignal.any([signal, AbortSignal.timeout(CERTIFICATE_PATIENCE_MS)]);
  const identities = certificates.pods().filter((one) => one.id === id).map(({ identity }) => identity);
  await certificates.have(identities, patience);
  if (patience.aborted) log.warn({ pod: id }, 'the pod starts without a certificate, as its CA has not answered; until it does, the pod has no tunnels');
  log.info({ pod: id, tookMs: Math.round(performance.now() - sinceMs) }, 'the pod is captured before it starts');
  return 'enrolled';
}
