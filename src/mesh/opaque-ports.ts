/** Ports declared HTTP/2 or gRPC: carried as opaque TCP until there is an HTTP/2 codec, so rules for requests do nothing there. */
import { fieldName } from './field-name.ts';
import type { Path } from './parse/document.ts';
import { serviceProtocol } from './compile/protocol.ts';
import type { Problem } from './problem.ts';
import { objectName } from './resources.ts';
import type { Snapshot } from './snapshot.ts';

/** `lineOf` finds the line of a field of an object, by its key. */
export function opaquePortProblems({ services }: Snapshot, lineOf: (key: string, path: Path) => number): Problem[] {
  return services.flatMap(({ origin, ports }) =>
    ports.flatMap((port, i) => {
      const protocol = serviceProtocol(port);
      if (port.udp || (protocol !== 'http2' && protocol !== 'grpc')) return [];
      const path = ['spec', 'ports', i];
      const line = lineOf(`Service ${origin.namespace}/${origin.name}`, path);
      const message = `port ${port.port} speaks ${protocol === 'grpc' ? 'gRPC' : 'HTTP/2'}, which is carried as opaque TCP for now: balanced by connection, without routes, retries and istio_requests_total`;
      return [{ severity: 'info', code: 'ORLOP013', file: origin.file, line, object: objectName(origin), field: fieldName(path), message, remedy: 'nothing; HTTP/2 comes with identity' } satisfies Problem];
    }),
  );
}
