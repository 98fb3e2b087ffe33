/** Bookinfo's reviews. v1 shows no stars; v2 (black) and v3 (red) ask ratings for them. */
import { whoAmI } from './identity.ts';
import { call, serveSample } from './sample-server.ts';
import type { Call } from './sample-server.ts';

const STAR_COLOURS: Record<string, string> = { v2: 'black', v3: 'red' };
const RATINGS = process.env['RATINGS'] ?? 'http://ratings:9080';

const TEXTS = [
  { reviewer: 'Reviewer1', text: 'An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!' },
  { reviewer: 'Reviewer2', text: 'Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare.' },
];

/** Stars of one reviewer, or why there are none. */
function rating({ status, body }: Call, reviewer: string, colour: string): { stars: number; color: string } | { error: string } {
  const { ratings } = (typeof body === 'object' ? body : {}) as { ratings?: Record<string, number> };
  const stars = ratings?.[reviewer];
  if (status === 200 && stars !== undefined) return { stars, color: colour };
  return { error: `Ratings service is currently unavailable (status ${status})` };
}

serveSample({
  '/reviews': async (url, headers) => {
    const id = Number(url.pathname.split('/')[2] ?? 0);
    const servedBy = whoAmI();
    const colour = STAR_COLOURS[servedBy.version];
    const found = colour === undefined ? undefined : await call(`${RATINGS}/ratings/${id}`, headers);
    const reviews = TEXTS.map((review) => (found === undefined || colour === undefined ? review : { ...review, rating: rating(found, review.reviewer, colour) }));
    return { body: { id, podname: servedBy.pod, clustername: '', reviews, servedBy } };
  },
});
