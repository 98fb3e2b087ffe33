/** A connection that a gateway accepted, and the exchanges on it. */
import type { GatewayTable } from '../../mesh/gateway/table.ts';
import type { Connection } from '../connection.ts';
import { Exchange } from '../record.ts';

/** `destinationPort` is the port of the gateway's listener, whichever port of the node it came in on. */
export interface GatewayConnection extends Connection {
  /** TLS was terminated here, by the server that `serverName` leads to. */
  readonly secure: boolean;
}

/** Pins the gateway's table of the moment it began. */
export class GatewayExchange extends Exchange {
  readonly gateway: GatewayTable;

  constructor(gateway: GatewayTable, connection: Connection, startedMs: number) {
    super('source', connection, gateway.table, startedMs);
    this.gateway = gateway;
  }
}
