/** Bookinfo's ratings: the stars that each reviewer gave. */
import { whoAmI } from './identity.ts';
import { serveSample } from './sample-server.ts';

serveSample({
  '/ratings': (url) => ({ body: { id: Number(url.pathname.split('/')[2] ?? 0), ratings: { Reviewer1: 5, Reviewer2: 4 }, servedBy: whoAmI() } }),
});
