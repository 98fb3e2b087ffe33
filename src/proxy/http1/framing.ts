/** How a body is framed: a length of 0 or more, or one of these. */
export const FRAMING_CHUNKED = -1;
export const FRAMING_UNTIL_CLOSE = -2;
