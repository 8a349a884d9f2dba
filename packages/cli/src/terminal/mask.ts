/**
 * Returns a function that masks the password of every URL, and the given secrets wherever they
 * occur. Words of fewer than 16 characters are not masked, because that would garble other output.
 */
export function masker (secrets: readonly string[]): (text: string) => string {
  // Each secret as it is and as JSON escapes it.
  const long = secrets.filter(secret => secret.length >= 16).flatMap(
    secret => [secret, JSON.stringify(secret).slice(1, -1)]
  )
  return text =>
    long.reduce(
      (masked, secret) => masked.replaceAll(secret, '***'),
      text
        // Up to the last '@', behind which the URL's host begins.
        .replace(/(\b[a-z][a-z0-9+.-]*:\/\/[^\s:@/]*):[^\s/]+@/gi, '$1:***@')
        .replace(/([?&](?:ssl)?password=)[^\s&"'#]+/gi, '$1***')
    )
}
