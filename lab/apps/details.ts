/** Bookinfo's details: what is printed on the first page of a book. */
import { whoAmI } from './identity.ts';
import { serveSample } from './sample-server.ts';

const BOOK = {
  author: 'William Shakespeare', year: 1595, type: 'paperback', pages: 200, publisher: 'PublisherA', language: 'English', 'ISBN-10': '1234567890', 'ISBN-13': '123-1234567890',
};

serveSample({
  '/details': (url) => ({ body: { id: Number(url.pathname.split('/')[2] ?? 0), ...BOOK, servedBy: whoAmI() } }),
});
