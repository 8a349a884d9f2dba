/*
 * Characters that do something to a terminal or to the order of what is read, instead of being shown:
 * controls (ESC, CR, LF, …), marks and overrides of direction, separators of lines, characters that cannot be seen.
 * Joiners are left: words of several languages need them.
 */
const classes = String.raw`\p{Cc}\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff`

const each = new RegExp(`[${classes}]|\\p{Surrogate}`, 'gu')
const eachButBreaks = new RegExp(`(?![\\n\\t])[${classes}]|\\p{Surrogate}`, 'gu')

/**
 * A text as a terminal or a log may show it: characters that would act are written as `\u001b`.
 *
 * @param options.breaks leaves line feeds and tabs, for texts of several lines. @default false
 */
export function printable (text: string, { breaks = false }: { readonly breaks?: boolean } = {}): string {
  return text.replace(
    breaks ? eachButBreaks : each,
    character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  )
}
