/** Lists in parts: there may be a hundred thousand of a kind. */
import { ApiError } from '../kube/api-client.ts';
import type { ApiClient, ApiObject } from '../kube/api-client.ts';
import { list, record, text } from '../mesh/parse/json.ts';

const CHUNK = 500;
const EXPIRED = 410;

/** What is at `path`. Begins anew when whoever reads took so long that the list has expired: some then come twice. */
export async function* chunksOf(send: ApiClient['send'], path: string, accept = 'application/json'): AsyncGenerator<readonly ApiObject[], void, undefined> {
  let token = '';
  for (;;) {
    let chunk: ApiObject;
    try {
      chunk = await send(path, { query: { limit: CHUNK, continue: token === '' ? undefined : token }, accept });
    } catch (error) {
      if (token === '' || !(error instanceof ApiError) || error.status !== EXPIRED) throw error;
      token = '';
      continue;
    }
    // Null in an empty list of metadata.
    yield list(chunk['items']);
    token = text(record(chunk['metadata'])['continue']);
    if (token === '') return;
  }
}
