/** Text that is safe to send as HTML. Only {@link html} makes it. */
export class Html {
  readonly #text: string

  constructor (text: string) {
    this.#text = text
  }

  toString (): string {
    return this.#text
  }
}

/**
 * What {@link html} puts in: text is escaped, `undefined`, `null` and `false` are nothing, a list
 * is its elements.
 */
export type HtmlValue = Html | string | number | undefined | null | false | readonly HtmlValue[]

/**
 * Makes HTML. Every value that is not HTML itself is escaped for text and for attributes in double
 * quotes, so that the name of a tenant cannot become markup.
 *
 * ```ts
 * html`<a href="${url}">${tenant.name}</a>`
 * ```
 */
export function html (parts: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  return new Html(parts.reduce((text, part, at) => `${text}${rendered(values[at - 1])}${part}`))
}

function rendered (value: HtmlValue): string {
  if (value === undefined || value === null || value === false) return ''
  if (Array.isArray(value)) return value.map(rendered).join('')
  return value instanceof Html ? value.toString() : escaped(String(value))
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;'
}

// Controls that reverse or hide text could make one tenant's name look like another's: they are
// shown by their number.
function escaped (text: string): string {
  return text.toWellFormed()
    .replaceAll(/[&<>"'`]/g, character => entities[character] ?? '')
    .replaceAll(
      /[\p{Cc}\p{Bidi_Control}\u200b\u2060\ufeff]/gu,
      character =>
        character === '\n' || character === '\t'
          ? character
          : `\\u{${character.codePointAt(0)?.toString(16)}}`
    )
}
