/** The images that the suite's manifests name, made of what scripts/gateway-conformance.sh built. */
import { chmodSync, copyFileSync, mkdirSync } from 'node:fs';
import { writeArchive } from '../../../deploy/image/archive.ts';

const REGISTRY = 'registry.k8s.io/gateway-api';

/** Tags that manifests of Gateway API v1.6.3 ask for; all are the same server here. */
const BASIC_TAGS = ['v1.5.1', 'v1.6.0-dev.2', 'v1.6.0-dev.3'];
const ADVANCED_TAG = 'v1.5.1';
/** Asked by tests of UDPRoute alone, which is not supported; but the suite begins when all its pods run, so that the echo server stands in. */
const DNS_IMAGE = 'registry.k8s.io/coredns/coredns:v1.12.2';

/** Write archives into `directory`; `home` is what the script built. Returns their paths. */
export function writeEchoImages(home: string, directory: string): string[] {
  const [basic, advanced] = [`${directory}/echo-basic`, `${directory}/echo-advanced`];
  mkdirSync(basic);
  copyFileSync(`${home}/bin/echo-basic`, `${basic}/echo-basic`);
  mkdirSync(`${advanced}/usr/local/bin`, { recursive: true });
  for (const program of ['client', 'server']) copyFileSync(`${home}/bin/${program}`, `${advanced}/usr/local/bin/${program}`);
  for (const file of ['cert.crt', 'cert.key']) copyFileSync(`${home}/cert/${file}`, `${advanced}/${file}`);
  chmodSync(`${advanced}/cert.key`, 0o644);
  const references = [...BASIC_TAGS.map((tag) => `${REGISTRY}/echo-basic:${tag}`), DNS_IMAGE];
  const archives = references.map((reference, i) => writeArchive(basic, { reference, entrypoint: ['/echo-basic'], user: '65532:65532' }, `${directory}/echo-basic-${i}.tar`));
  archives.push(writeArchive(advanced, {
    reference: `${REGISTRY}/echo-advanced:${ADVANCED_TAG}`, entrypoint: ['/usr/local/bin/server'], user: '1338:1338', env: { PATH: '/usr/local/bin' },
  }, `${directory}/echo-advanced.tar`));
  return archives.map(({ path }) => path);
}
