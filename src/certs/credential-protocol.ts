/**
 * How the control plane gives the agent of a node the certificates that the node's gateways show: a stream, on the connection by which certificates are
 * signed. A node names nothing that it wants: what it gets is what its gateways name.
 */
import { fromJSON } from '@grpc/proto-loader';
import type { ServiceDefinition } from '@grpc/proto-loader';

/** One of them as it is now; sent again when it has changed. */
export interface CredentialMessage {
  /** `Secret ns/name`. */
  readonly source: string;
  /** PEM. */
  readonly certificate: string;
  readonly privateKey: string;
  readonly authorities: string;
  /** Why there is none; empty: there is one. */
  readonly problem: string;
  /** The node's gateways do not name it any more. */
  readonly forgotten: boolean;
}

const packages = {
  nested: {
    'orlop.credentials.v1': {
      nested: {
        FollowRequest: { fields: {} },
        Credential: {
          fields: {
            source: { type: 'string', id: 1 },
            certificate: { type: 'string', id: 2 },
            privateKey: { type: 'string', id: 3 },
            authorities: { type: 'string', id: 4 },
            problem: { type: 'string', id: 5 },
            forgotten: { type: 'bool', id: 6 },
          },
        },
        CredentialService: { methods: { Follow: { requestType: 'FollowRequest', responseType: 'Credential', responseStream: true } } },
      },
    },
  },
};

const messages = fromJSON(packages as Parameters<typeof fromJSON>[0], { defaults: true });

export const CredentialService = messages['orlop.credentials.v1.CredentialService'] as ServiceDefinition;
