import { hostname } from 'node:os'

import { badge, moment } from '../html/format.ts'
import { html, type Html, type HtmlValue } from '../html/html.ts'

/** What every page knows. */
export interface PageContext {
  /** The prefix of the console: `/_tenancy`. */
  readonly base: string
  /**
   * Changes with the style sheet and the script, so that a new release is not shown with an old
   * one's.
   */
  readonly assets: string
  /** The operator's name. Undefined on the page that refuses. */
  readonly actor: string | undefined
  /** How the application does; undefined on the page that refuses. */
  readonly health: string | undefined
}

const sections = [['', 'Tenants'], ['/fleet', 'Fleet'], ['/doctor', 'Doctor']] as const

/** A whole document. */
export function page (
  { base, assets, actor, health }: PageContext,
  { title, section, main }: {
    readonly title: string
    readonly section?: typeof sections[number][1] | undefined
    readonly main: HtmlValue
  }
): Html {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${title} – tenancy console</title>
<link rel="stylesheet" href="${base}/assets/${assets}.css">
<link rel="icon" href="${base}/assets/${assets}.svg">
<script src="${base}/assets/${assets}.js" defer></script>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header><div>
<span class="brand">Tenancy console</span>
${
    actor !== undefined && html`<nav aria-label="Console"><ul>${
      sections.map(([path, name]) =>
        html`<li><a href="${base}${path || '/'}"${
          name === section && html` aria-current="page"`
        }>${name}</a></li>`
      )
    }</ul></nav>
<p class="who"><a href="${base}/fleet">Fleet</a> ${
      badge(health ?? '')
    } <span class="name">${actor}</span></p>`
  }
</div></header>
<main id="main" tabindex="-1">
<h1>${title}</h1>
${main}
</main>
<footer>${
    actor !== undefined &&
    html`Process ${process.pid} on ${hostname()}, at ${moment(new Date())}. All times are UTC.`
  }</footer>
</body>
</html>
`
}

/** A sentence in a coloured frame. */
export function notice (tone: 'good' | 'warn' | 'bad' | 'quiet', text: HtmlValue): Html {
  return html`<p class="notice ${tone}"${tone === 'bad' && html` role="alert"`}>${text}</p>`
}
