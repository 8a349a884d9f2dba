import { html, type Html } from '../html/html.ts'
import { notice } from './page.ts'

/** What went wrong, in words for the operator, and what to do. */
export interface Failure {
  readonly statusCode: number
  readonly title: string
  readonly text: string
  /** Where to go on. */
  readonly next?: { readonly href: string; readonly text: string } | undefined
}

/** A page that says why the one that was asked for is not there. */
export function failurePage ({ text, next }: Failure): Html {
  return html`${notice('bad', text)}${
    next && html`<p><a class="button" href="${next.href}">${next.text}</a></p>`
  }`
}
