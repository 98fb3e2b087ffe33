/**
 * Why a token is refused, in the words of Envoy (source/common/jwt/status.cc): clients, tests and runbooks know these texts,
 * which are the whole body of the answer.
 */

export const JWT_FAULTS = Object.freeze({
  missing: 'Jwt is missing',
  bad_format: 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections',
  header_base64: 'Jwt header is an invalid Base64url encoded',
  header_json: 'Jwt header is an invalid JSON',
  header_alg: 'Jwt header [alg] field is required and must be a string',
  header_alg_unsupported: 'Jwt header [alg] is not supported',
  header_kid: 'Jwt header [kid] field is not a string',
  payload_base64: 'Jwt payload is an invalid Base64url encoded',
  payload_json: 'Jwt payload is an invalid JSON',
  payload_iss: 'Jwt payload [iss] field is not a string',
  payload_sub: 'Jwt payload [sub] field is not a string',
  payload_iat: 'Jwt payload [iat] field is not an integer',
  payload_iat_range: 'Jwt payload [iat] field is not a positive 64 bit integer',
  payload_nbf: 'Jwt payload [nbf] field is not an integer',
  payload_nbf_range: 'Jwt payload [nbf] field is not a positive 64 bit integer',
  payload_exp: 'Jwt payload [exp] field is not an integer',
  payload_exp_range: 'Jwt payload [exp] field is not a positive 64 bit integer',
  payload_jti: 'Jwt payload [jti] field is not a string',
  payload_aud: 'Jwt payload [aud] field is not a string or string list',
  signature_base64: 'Jwt signature is an invalid Base64url encoded',
  not_yet_valid: 'Jwt not yet valid',
  expired: 'Jwt is expired',
  unknown_issuer: 'Jwt issuer is not configured',
  audience: 'Audiences in Jwt are not allowed',
  verification: 'Jwt verification fails',
  no_matching_key: 'Jwks doesn\'t have key to match kid or alg from Jwt',
  no_valid_keys: 'Jwks doesn\'t have any valid public key',
  fetch_failed: 'Jwks remote fetch is failed',
} satisfies Record<string, string>);

export type JwtFault = keyof typeof JWT_FAULTS;

/** The wrong audience is the one fault of a genuine token, so it is forbidden rather than unauthenticated (Envoy's filter.cc). */
export function statusOf(fault: JwtFault): 401 | 403 {
  return fault === 'audience' ? 403 : 401;
}
