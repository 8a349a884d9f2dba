/**
 * Hides what must not stand in a terminal or a log: the password of every URL, and the given secrets wherever they occur.
 * A short word is no secret, and to hide it would garble what is printed.
 */
export function masker (secrets: readonly string[]): (text: string) => string {
  // As they are, and as JSON writes them.
  const long = secrets.filter(secret => secret.length >= 16).flatMap(
    secret => [secret, JSON.stringify(secret).slice(1, -1)]
  )
  return text =>
    long.reduce(
      (masked, secret) => masked.replaceAll(secret, '***'),
      text
        // Up to the last '@', which is where a URL's host begins.
        .replace(/(\b[a-z][a-z0-9+.-]*:\/\/[^\s:@/]*):[^\s/]+@/gi, '$1:***@')
        .replace(/([?&](?:ssl)?password=)[^\s&"'#]+/gi, '$1***')
    )
}
