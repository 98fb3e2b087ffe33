/** The cluster's keys and certificates, and the kubeconfig files of those who talk to its API server. They end with the cluster. */
import { createPublicKey, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { newKeyPair, P256 } from '../../../src/certs/key-pair.ts';
import type { KeyPair } from '../../../src/certs/key-pair.ts';
import {
  BasicConstraintsExtension, ExtendedKeyUsage, ExtendedKeyUsageExtension, KeyUsageFlags, KeyUsagesExtension, SubjectAlternativeNameExtension, X509CertificateGenerator,
} from '../../../src/certs/x509.ts';
import type { Extension, X509Certificate } from '../../../src/certs/x509.ts';
import { API_SERVICE_ADDRESS, CLUSTER_DOMAIN } from './names.ts';

const DAY_MS = 86_400_000;

/** Who a client certificate says its holder is; Kubernetes reads users from CN and groups from O. */
export interface Subject {
  user: string;
  group?: string;
}

export interface KeysRequest {
  directory: string;
  /** https://ADDRESS:PORT of the API server. */
  server: string;
  addresses: readonly string[];
  /** File name of a kubeconfig (without its ending) to whom it is for. */
  clients: Record<string, Subject>;
}

/**
 * Write ca.crt and ca.key, apiserver.crt and .key, service-accounts.key and .pub, kubelet-client.crt and .key (the API server's, for kubelets),
 * and a NAME.kubeconfig per client into `directory`.
 */
export async function writeKeys({ directory, server, addresses, clients }: KeysRequest): Promise<void> {
  const ca = await Ca.make();
  const put = (name: string, content: string): void => {
    writeFileSync(`${directory}/${name}`, content, { mode: 0o600 });
  };
  put('ca.crt', ca.certificate);
  put('ca.key', ca.keys.key);
  const serving = await ca.issueServer(addresses);
  put('apiserver.crt', serving.certificate);
  put('apiserver.key', serving.key);
  const kubeletClient = await ca.issueClient({ user: 'kube-apiserver-kubelet-client', group: 'system:masters' });
  put('kubelet-client.crt', kubeletClient.certificate);
  put('kubelet-client.key', kubeletClient.key);
  const serviceAccounts = await newKeyPair();
  put('service-accounts.key', serviceAccounts.key);
  put('service-accounts.pub', createPublicKey(serviceAccounts.key).export({ type: 'spki', format: 'pem' }));
  for (const [name, subject] of Object.entries(clients)) put(`${name}.kubeconfig`, kubeconfig(server, ca.certificate, await ca.issueClient(subject)));
}

interface Issued {
  certificate: string;
  key: string;
}

class Ca {
  readonly #certificate: X509Certificate;
  readonly keys: KeyPair;

  private constructor(certificate: X509Certificate, keys: KeyPair) {
    this.#certificate = certificate;
    this.keys = keys;
  }

  static async make(): Promise<Ca> {
    const keys = await newKeyPair();
    const certificate = await X509CertificateGenerator.createSelfSigned({
      ...terms('CN=kubernetes'), name: 'CN=kubernetes', keys: keys.pair, signingAlgorithm: P256,
      extensions: [new BasicConstraintsExtension(true, undefined, true), new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.digitalSignature, true)],
    });
    return new Ca(certificate, keys);
  }

  get certificate(): string {
    return this.#certificate.toString('pem');
  }

  async issueServer(addresses: readonly string[]): Promise<Issued> {
    const names = ['localhost', 'kubernetes', 'kubernetes.default', 'kubernetes.default.svc', `kubernetes.default.svc.${CLUSTER_DOMAIN}`];
    const alternatives = [
      ...names.map((value) => ({ type: 'dns' as const, value })),
      ...['127.0.0.1', API_SERVICE_ADDRESS, ...addresses].map((value) => ({ type: 'ip' as const, value })),
    ];
    return this.#issue('CN=kube-apiserver', [new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]), new SubjectAlternativeNameExtension(alternatives)]);
  }

  async issueClient({ user, group }: Subject): Promise<Issued> {
    return this.#issue(group === undefined ? `CN=${user}` : `O=${group}, CN=${user}`, [new ExtendedKeyUsageExtension([ExtendedKeyUsage.clientAuth])]);
  }

  async #issue(subject: string, extensions: Extension[]): Promise<Issued> {
    const { pair, key } = await newKeyPair();
    const certificate = await X509CertificateGenerator.create({
      ...terms(subject), issuer: this.#certificate.subject, publicKey: pair.publicKey, signingKey: this.keys.pair.privateKey, signingAlgorithm: P256,
      extensions: [new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true), ...extensions],
    });
    return { certificate: certificate.toString('pem'), key };
  }
}

function terms(subject: string): { serialNumber: string; subject: string; notBefore: Date; notAfter: Date } {
  const now = Date.now();
  // A first bit of 0: the number is positive (RFC 5280 §4.1.2.2).
  const serial = randomBytes(16);
  serial[0] = (serial[0] as number) & 0x7f;
  return { serialNumber: serial.toString('hex'), subject, notBefore: new Date(now - DAY_MS), notAfter: new Date(now + 30 * DAY_MS) };
}

function kubeconfig(server: string, ca: string, { certificate, key }: Issued): string {
  const base64 = (text: string): string => Buffer.from(text).toString('base64');
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'test', cluster: { server, 'certificate-authority-data': base64(ca) } }],
    users: [{ name: 'user', user: { 'client-certificate-data': base64(certificate), 'client-key-data': base64(key) } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'user' } }],
    'current-context': 'test',
  });
}
