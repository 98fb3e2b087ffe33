/** Label selectors of Kubernetes (metav1.LabelSelector), asked about namespaces. */
import type { Snapshot } from '../snapshot.ts';
import type { LabelSelector, NamespaceChoice } from './resources.ts';

/** Is `namespace` one of those that somebody in `own` has chosen? Without a choice that is `otherwise`. */
export function choosesNamespace(choice: NamespaceChoice | undefined, own: string, namespace: string, otherwise: 'Same' | 'None', snapshot: Snapshot): boolean {
  switch (choice?.from ?? otherwise) {
    case 'All':
      return true;
    case 'Same':
      return namespace === own;
    case 'Selector':
      return choice?.selector !== undefined && selects(choice.selector, labelsOf(snapshot, namespace));
    default:
      return false;
  }
}

/** The name of a namespace is a label of it, also where its object is not known (kubernetes.io/metadata.name). */
function labelsOf({ namespaceLabels }: Snapshot, namespace: string): Readonly<Record<string, string>> {
  return { 'kubernetes.io/metadata.name': namespace, ...(Object.hasOwn(namespaceLabels, namespace) ? namespaceLabels[namespace] : {}) };
}

/** All of its parts must hold; an empty selector takes everything. */
export function selects({ matchLabels = {}, matchExpressions = [] }: LabelSelector, labels: Readonly<Record<string, string>>): boolean {
  for (const [key, value] of Object.entries(matchLabels)) if (!Object.hasOwn(labels, key) || labels[key] !== value) return false;
  return matchExpressions.every(({ key, operator, values = [] }) => {
    const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
    switch (operator) {
      case 'In':
        return value !== undefined && values.includes(value);
      case 'NotIn':
        return value === undefined || !values.includes(value);
      case 'Exists':
        return value !== undefined;
      default:
        return value === undefined;
    }
  });
}
