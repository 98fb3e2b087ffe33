/** Making certificates: roots, intermediates and leaves, as RFC 5280 and the X.509-SVID standard have them. */
import { randomBytes } from 'node:crypto';
import { newKeyPair, P256 } from './key-pair.ts';
import { encodePem } from './pem.ts';
import type { Signer } from './signer.ts';
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from './x509.ts';
import type { Extension, JsonGeneralNames, PublicKeyType, X509Certificate } from './x509.ts';

/** Clocks of nodes differ by so much without anybody noticing (Istio backdates by as much). */
const BACKDATE_MS = 120_000;

export interface Minted {
  /** PEM. */
  readonly certificate: string;
  /** Lower-case hex. */
  readonly serial: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export interface MintedCa extends Minted {
  /** PKCS#8 PEM. */
  readonly key: string;
}

export interface CaRequest {
  readonly trustDomain: string;
  readonly nowMs: number;
  readonly lifetimeMs: number;
}

/** A self-signed root with a key of its own. */
export async function mintRoot(request: CaRequest): Promise<MintedCa> {
  const { pair, key } = await newKeyPair();
  const terms = termsOf(request);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    ...terms,
    name: caName('root', terms.serialNumber),
    keys: pair,
    signingAlgorithm: P256,
    extensions: await caExtensions(pair.publicKey, request.trustDomain, 1),
  });
  return { ...minted(certificate), key };
}

/** An intermediate under `root`, which it does not outlive. */
export async function mintIntermediate(root: Signer, request: CaRequest): Promise<MintedCa> {
  const { pair, key } = await newKeyPair();
  const terms = termsOf(request, root.notAfterMs);
  const certificate = await X509CertificateGenerator.create({
    ...terms,
    subject: caName('intermediate', terms.serialNumber),
    issuer: root.name,
    publicKey: pair.publicKey,
    signingKey: root.key,
    signingAlgorithm: root.algorithm,
    extensions: [...(await caExtensions(pair.publicKey, request.trustDomain, 0)), await root.authorityKeyIdentifier()],
  });
  return { ...minted(certificate), key };
}

export interface LeafRequest {
  readonly publicKey: PublicKeyType;
  /** Everything the certificate names: one SPIFFE id, or DNS names and addresses of a server. */
  readonly names: JsonGeneralNames;
  readonly nowMs: number;
  readonly lifetimeMs: number;
}

/** A leaf for either end of mutual TLS. The subject is empty, therefore the alternative name is critical (RFC 5280 §4.2.1.6). */
export async function mintLeaf(signer: Signer, request: LeafRequest): Promise<Minted> {
  const certificate = await X509CertificateGenerator.create({
    ...termsOf(request, signer.notAfterMs),
    issuer: signer.name,
    publicKey: request.publicKey,
    signingKey: signer.key,
    signingAlgorithm: signer.algorithm,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth, ExtendedKeyUsage.clientAuth]),
      new SubjectAlternativeNameExtension(request.names, true),
      await SubjectKeyIdentifierExtension.create(request.publicKey),
      await signer.authorityKeyIdentifier(),
    ],
  });
  return minted(certificate);
}

interface Terms {
  readonly serialNumber: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Backdated for clocks that go behind, by a tenth of the lifetime at most. Certificates count whole seconds. */
function termsOf({ nowMs, lifetimeMs }: { nowMs: number; lifetimeMs: number }, latestMs = Infinity): Terms {
  return {
    serialNumber: randomSerial(),
    notBefore: wholeSecond(nowMs - Math.min(BACKDATE_MS, lifetimeMs / 10)),
    notAfter: wholeSecond(Math.min(nowMs + lifetimeMs, latestMs)),
  };
}

function wholeSecond(ms: number): Date {
  return new Date(Math.floor(ms / 1000) * 1000);
}

/** 16 octets of chance; the first is kept within 0x40…0x7f, so that the number is positive and its encoding of one length (RFC 5280 §4.1.2.2). */
function randomSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] as number) & 0x3f) | 0x40;
  return bytes.toString('hex');
}

/** No two CA certificates share a name: verifiers look issuers up by it. */
function caName(role: 'root' | 'intermediate', serial: string): string {
  return `O=Orlop, CN=${role} ${serial.slice(0, 16)}`;
}

/** X.509-SVID §3.1: the certificate of a CA may name its trust domain, without a path. */
async function caExtensions(publicKey: CryptoKey, trustDomain: string, pathLength: number): Promise<Extension[]> {
  return [
    new BasicConstraintsExtension(true, pathLength, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    new SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://${trustDomain}` }]),
    await SubjectKeyIdentifierExtension.create(publicKey),
  ];
}

function minted(certificate: X509Certificate): Minted {
  return {
    certificate: encodePem(certificate.rawData, 'CERTIFICATE'),
    serial: certificate.serialNumber.toLowerCase(),
    notBeforeMs: certificate.notBefore.getTime(),
    notAfterMs: certificate.notAfter.getTime(),
  };
}
