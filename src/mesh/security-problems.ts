/** Security resources that say less than their authors think: overruled by older ones, for nobody, or naming who is not there. */
import { isExtAuthz } from './compile/ext-authz.ts';
import { selects } from './compile/peer-authentication.ts';
import { hasLabels } from './compile/registry.ts';
import { fieldName } from './field-name.ts';
import { ISTIO_GATEWAY_LABELS } from './gateway/istio.ts';
import { labelsOfGateway } from './gateway/security.ts';
import type { Path } from './parse/document.ts';
import type { Problem } from './problem.ts';
import { objectName } from './resources.ts';
import type { Origin, Resource } from './resources.ts';
import type { Selection } from './security-resources.ts';
import type { Snapshot } from './snapshot.ts';

/** `lineOf` finds the line of a field of an object, by its key. */
export function securityProblems(snapshot: Snapshot, lineOf: (key: string, path: Path) => number): Problem[] {
  const warning = (object: Origin, path: Path, code: string, message: string, remedy: string): Problem => ({
    severity: 'warning', code, file: object.file, line: lineOf(`${object.kind} ${object.namespace}/${object.name}`, path), object: objectName(object), field: fieldName(path), message, remedy,
  });
  return [...overruled(snapshot, warning), ...forNobody(snapshot, warning), ...unknownProviders(snapshot, warning), ...unshadowed(snapshot, warning)];
}

type Warning = (object: Origin, path: Path, code: string, message: string, remedy: string) => Problem;

/** Of the PeerAuthentications for a whole namespace, or the mesh, only the oldest is in force. */
function overruled({ peerAuthentications, mesh: { rootNamespace } }: Snapshot, warning: Warning): Problem[] {
  const first = new Map<string, Origin>();
  return peerAuthentications.flatMap((one) => {
    if (selects(one)) {
      if (one.namespace !== rootNamespace) return [];
      return [warning(one, ['spec', 'selector'], 'ORLOP023', 'a PeerAuthentication of the root namespace has no selector; with one it is for nobody', 'put it into the namespace of the workloads')];
    }
    const older = first.get(one.namespace);
    first.set(one.namespace, older ?? one);
    return older === undefined ? [] : [warning(one, [], 'KIA0501', `${objectName(older)} is older and for the same workloads, so this one has no effect`, 'keep one of them')];
  });
}

/** A selector without workloads, or a target that is not there, is mostly a misspelt one. */
function forNobody(snapshot: Snapshot, warning: Warning): Problem[] {
  const { requestAuthentications, authorizationPolicies, peerAuthentications, workloads, services, gatewayApi, mesh: { rootNamespace } } = snapshot;
  const byNamespace = Map.groupBy(workloads, ({ namespace }) => namespace);
  const names = new Set([...services.map(({ origin }) => origin), ...gatewayApi.gateways].map(({ kind, namespace, name }) => `${kind} ${namespace}/${name}`));
  return [...peerAuthentications, ...requestAuthentications, ...authorizationPolicies].flatMap((one: Resource<Selection>) => {
    const { selector, targetRef, targetRefs } = one.spec;
    const labels = selector?.matchLabels ?? {};
    const candidates = one.namespace === rootNamespace ? workloads : (byNamespace.get(one.namespace) ?? []);
    const missing = [targetRef, ...(targetRefs ?? [])].filter((ref) => (ref?.kind === 'Service' || ref?.kind === 'Gateway') && !names.has(`${ref.kind} ${one.namespace}/${ref.name}`));
    return [
      ...(Object.keys(labels).length === 0 || candidates.some((workload) => hasLabels(workload.labels, labels)) || areOfGateway(labels, snapshot) ? [] : [warning(one, ['spec', 'selector'], 'IST0127', 'no workload has these labels, so this is for nobody', 'correct the selector, or the labels of the pods')]),
      ...missing.map((ref) => warning(one, ['spec', targetRef === undefined ? 'targetRefs' : 'targetRef'], 'IST0101', `there is no ${ref?.kind ?? ''} ${one.namespace}/${ref?.name ?? ''}`, 'create it, or correct the name')),
    ];
  });
}

/** Gateways are nobody's pods, and have labels all the same. */
function areOfGateway(labels: Readonly<Record<string, string>>, { istioGateways, gatewayApi }: Snapshot): boolean {
  return (istioGateways.length > 0 && hasLabels(ISTIO_GATEWAY_LABELS, labels)) || gatewayApi.gateways.some((gateway) => hasLabels(labelsOfGateway(gateway), labels));
}

function unknownProviders({ authorizationPolicies, mesh: { extensionProviders } }: Snapshot, warning: Warning): Problem[] {
  const known = new Set(extensionProviders.filter(isExtAuthz).map(({ name }) => name));
  return authorizationPolicies.flatMap((one) => {
    const { action, provider } = one.spec;
    if (action !== 'CUSTOM' || known.has(provider?.name ?? '')) return [];
    return [warning(one, ['spec', 'provider', 'name'], 'ORLOP024', `MeshConfig.extensionProviders has no external authorizer "${provider?.name ?? ''}", so whatever the policy takes is refused`, 'add it there, or correct the name')];
  });
}

/** The annotation of a dry-run where it has no meaning: the policy is in force. */
function unshadowed({ authorizationPolicies }: Snapshot, warning: Warning): Problem[] {
  return authorizationPolicies.flatMap((one) => {
    const { action = 'ALLOW' } = one.spec;
    if (!one.dryRun || action === 'ALLOW' || action === 'DENY') return [];
    return [warning(one, ['metadata', 'annotations', 'istio.io/dry-run'], 'ORLOP025', `a policy of action ${action} has no dry-run: it is in force`, 'remove the annotation, or the policy')];
  });
}
