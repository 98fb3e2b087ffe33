/** Which octets may stand where in a message (RFC 9110 §5.5, §5.6.2; RFC 9112 §3, §4): tables of 256, 1 = allowed. */

function table(allowed: (octet: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, octet) => (allowed(octet) ? 1 : 0));
}

const TOKEN_SIGNS = "!#$%&'*+-.^_`|~";

function isAlphanumeric(octet: number): boolean {
  return (octet >= 0x30 && octet <= 0x39) || (octet >= 0x41 && octet <= 0x5a) || (octet >= 0x61 && octet <= 0x7a);
}

/** tchar: methods and field names. */
export const TOKEN = table((octet) => isAlphanumeric(octet) || (octet < 128 && TOKEN_SIGNS.includes(String.fromCharCode(octet))));

/** Field values and reason phrases: VCHAR, space, tab, and obs-text, which is passed on unread. */
export const VALUE = table((octet) => octet === 0x09 || (octet >= 0x20 && octet !== 0x7f));

/**
 * Request targets: no space or control, and no `#`, because a fragment is never sent (RFC 9112 §3.2). Octets above 127 are
 * not in the grammar, but clients send unescaped UTF-8, and there is only one way to read them.
 */
export const TARGET = table((octet) => octet > 0x20 && octet !== 0x7f && octet !== 0x23);

/** Value of a hexadecimal digit; 255 = none. */
export const HEX = Uint8Array.from({ length: 256 }, (_, octet) => {
  if (octet >= 0x30 && octet <= 0x39) return octet - 0x30;
  const lower = octet | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x61 + 10 : 255;
});

/** For messages: `"x"` or `0x0a`. */
export function octetText(octet: number): string {
  return octet > 0x20 && octet < 0x7f ? `"${String.fromCharCode(octet)}"` : `0x${octet.toString(16).padStart(2, '0')}`;
}
