/** Bookinfo's front: /productpage for people, /api/v1/products/… for programs. Calls details and reviews. */
import type { IncomingHttpHeaders } from 'node:http';
import { whoAmI } from './identity.ts';
import type { Identity } from './identity.ts';
import { call, serveSample } from './sample-server.ts';
import type { Call, Page } from './sample-server.ts';

const DETAILS = process.env['DETAILS'] ?? 'http://details:9080';
const REVIEWS = process.env['REVIEWS'] ?? 'http://reviews:9080';
const TITLE = 'The Comedy of Errors';

interface Review {
  reviewer: string;
  text: string;
  rating?: { stars?: number; color?: string; error?: string };
}

function escape(value: unknown): string {
  return String(value).replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

function served(by: Identity | undefined): string {
  return by === undefined ? '' : `<small>${escape(`${by.app} ${by.version}, pod ${by.pod} on ${by.node}`)}</small>`;
}

function detailsHtml({ status, body }: Call): string {
  if (status !== 200) return '<p class="error">Error fetching product details</p>';
  const { servedBy, ...facts } = body as Record<string, unknown> & { servedBy?: Identity };
  return `<dl>${Object.entries(facts).map(([key, value]) => `<dt>${escape(key)}<dd>${escape(value)}`).join('')}</dl>${served(servedBy)}`;
}

function reviewHtml({ text, reviewer, rating }: Review): string {
  const stars = rating?.stars === undefined ? escape(rating?.error ?? '') : `<span style="color:${escape(rating.color)}">${'★'.repeat(rating.stars)}</span>`;
  return `<blockquote>${escape(text)}<footer>${escape(reviewer)} ${stars}</footer></blockquote>`;
}

function reviewsHtml({ status, body }: Call): string {
  if (status !== 200) return '<p class="error">Error fetching product reviews</p>';
  const { reviews, servedBy } = body as { reviews: Review[]; servedBy?: Identity };
  return reviews.map(reviewHtml).join('') + served(servedBy);
}

async function page(_url: URL, headers: IncomingHttpHeaders): Promise<Page> {
  const [details, reviews] = await Promise.all([call(`${DETAILS}/details/0`, headers), call(`${REVIEWS}/reviews/0`, headers)]);
  const body = `<!doctype html><meta charset="utf-8"><title>${TITLE}</title>
<style>body{font:16px/1.5 system-ui;max-width:44rem;margin:2rem auto}dt{float:left;clear:left;width:8rem;color:#555}small{color:#777}.error{color:#a00}</style>
<h1>${TITLE}</h1>${served(whoAmI())}
<h2>Details</h2>${detailsHtml(details)}
<h2>Reviews</h2>${reviewsHtml(reviews)}
`;
  return { contentType: 'text/html; charset=utf-8', body };
}

/** /api/v1/products, /api/v1/products/0 (its details), /api/v1/products/0/reviews. */
async function api(url: URL, headers: IncomingHttpHeaders): Promise<Page> {
  const [, , , , id, part] = url.pathname.split('/');
  if (id === undefined) return { body: [{ id: 0, title: TITLE, servedBy: whoAmI() }] };
  const { status, body } = await call(part === 'reviews' ? `${REVIEWS}/reviews/${id}` : `${DETAILS}/details/${id}`, headers);
  return { status: status === 0 ? 503 : status, body };
}

serveSample({ '/productpage': page, '/api': api, '/': page });
