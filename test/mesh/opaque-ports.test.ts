import { expect, it } from 'vitest';
import { buildSnapshot } from '../../src/mesh/build.ts';

it('a gRPC or HTTP/2 port says that its requests are not routed', () => {
  const text = `apiVersion: v1
kind: Service
metadata: {name: s}
spec:
  ports:
    - {name: http, port: 80}
    - {name: grpc-api, port: 81}
    - {name: x, port: 82, appProtocol: kubernetes.io/h2c}
`;
  const { problems } = buildSnapshot([{ name: 's.yaml', text }]);
  expect(problems.map(({ severity, code, file, line, field }) => [severity, code, file, line, field])).toEqual([
    ['info', 'ORLOP013', 's.yaml', 7, 'spec.ports[1]'],
    ['info', 'ORLOP013', 's.yaml', 8, 'spec.ports[2]'],
  ]);
});
