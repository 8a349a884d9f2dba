/**
 * Characters that affect a terminal or the reading order: controls (ESC, CR, LF, …), direction
 * marks and overrides, line separators, and invisible characters. Joiners are not included, because
 * words of several languages need them.
 */
const classes = String.raw`\p{Cc}\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff`

const each = new RegExp(`[${classes}]|\\p{Surrogate}`, 'gu')
const eachButBreaks = new RegExp(`(?![\\n\\t])[${classes}]|\\p{Surrogate}`, 'gu')

/**
 * Returns a text that is safe for a terminal or a log: control characters are written as `\u001b`.
 * `breaks` keeps line feeds and tabs, for texts of several lines. @default false
 */
export function printable (text: string, { breaks = false }: { readonly breaks?: boolean } = {}): string {
  return text.replace(
    breaks ? eachButBreaks : each,
    character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  )
}
