/** The X.509 library made ready: it registers its parts with decorators, and needs their polyfill loaded before it. Import it from here. */
// oxlint-disable-next-line import/no-unassigned-import -- it defines globals, which is all it is for
import 'reflect-metadata';

export {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequest,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
export type { Extension, JsonGeneralNames, Name, PublicKey, PublicKeyType } from '@peculiar/x509';
