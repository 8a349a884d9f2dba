import { area, line } from 'd3-shape'

import { number } from '../html/format.ts'
import { html, type Html } from '../html/html.ts'

/** A line of a plot, one value a moment. */
interface PlotLine {
  readonly name: string
  /** Undefined where there is nothing to show, such as a share of nothing. */
  readonly values: readonly (number | undefined)[]
}

interface Point {
  readonly left: number
  readonly value: number | undefined
}

/** What {@link plot} draws. */
interface Plot {
  /** Unique on the page. */
  readonly id: string
  readonly title: string
  /** The newest value in words. */
  readonly now: string
  /** What the values are, in one sentence. */
  readonly note: string
  /** At most two. */
  readonly lines: readonly PlotLine[]
  /** The moments of the values, the oldest first. */
  readonly moments: readonly Date[]
  /** Drawn as a dashed line. */
  readonly limit?: { readonly name: string; readonly value: number } | undefined
  /** The top of the plot. @default the largest value */
  readonly most?: number
  readonly unit: string
}

const width = 600
const height = 120
/** Places on the time axis, so that a plot fills from the right while samples come in. */
const places = 60

/**
 * Draws values over time as SVG, and puts the same numbers in a table. Without a script, and
 * without an inline style.
 */
export function plot (given: Plot): Html {
  const { id, title, now, note, lines, moments, limit, unit } = given
  const largest = Math.max(0, ...lines.flatMap(({ values }) => values.map(value => value ?? 0)))
  const top = given.most ?? (Math.max(largest, limit?.value ?? 0) || 1)
  return html`<section class="plot" aria-labelledby="${id}-title">
<h3 id="${id}-title">${title}</h3>
<p class="now">${now}</p>
<p class="note">${note}</p>
${
    moments.length === 0 ? html`<p class="empty">The first sample comes within 30 seconds.</p>` : html`
<p class="scale"><span>${number(top)} ${unit}</span></p>
<svg viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" role="img" aria-label="${title}: ${now}">
<line class="grid" x1="0" y1="${height / 2}" x2="${width}" y2="${height / 2}"/>
<line class="axis" x1="0" y1="${height}" x2="${width}" y2="${height}"/>
${lines.map(({ values }, at) => drawLine(values, top, at))}
${
      limit && limit.value <= top &&
      html`<line class="limit" x1="0" y1="${y(limit.value, top)}" x2="${width}" y2="${y(limit.value, top)}"/>`
    }
</svg>
<p class="scale"><span>15 minutes ago</span><span>now</span></p>
<ul class="legend">${
      lines.map(({ name }, at) => html`<li><span class="key line-${at}"></span>${name}</li>`)
    }${limit && html`<li><span class="key limit"></span>${limit.name}</li>`}</ul>
${numbers(given)}`
  }
</section>`
}

function numbers ({ title, lines, moments, unit }: Plot): Html {
  return html`<details><summary>Numbers<span class="hidden"> of ${title}</span></summary>
<div class="scroll" role="region" aria-label="Numbers of ${title}" tabindex="0"><table>
<thead><tr><th scope="col">UTC</th>${
    lines.map(({ name }) => html`<th scope="col">${name}, ${unit}</th>`)
  }</tr></thead>
<tbody>${
    moments.map((at, index) =>
      html`<tr><th scope="row">${at.toISOString().slice(11, 19)}</th>${
        lines.map(({ values }) => {
          const value = values[index]
          return html`<td>${value === undefined ? '–' : number(value)}</td>`
        })
      }</tr>`
    ).toReversed()
  }</tbody></table></div></details>`
}

function drawLine (values: readonly (number | undefined)[], top: number, at: number): Html {
  const first = places - values.length
  // A single value between gaps is drawn as a short line: a circle would be stretched with the plot.
  const points = values.flatMap((value, index): Point[] => {
    const left = (first + index) * width / (places - 1)
    const isAlone = value !== undefined && values[index - 1] === undefined && values[index + 1] === undefined
    return isAlone ? [{ left: left - 6, value }, { left, value }] : [{ left, value }]
  })
  const shape = { left: ({ left }: Point) => left, top: ({ value }: Point) => y(value ?? 0, top) }
  const isThere = ({ value }: Point): boolean => value !== undefined
  const filled = area<Point>().defined(isThere).x(shape.left).y0(height).y1(shape.top).digits(1)(points)
  const drawn = line<Point>().defined(isThere).x(shape.left).y(shape.top).digits(1)(points)
  return html`${at === 0 && html`<path class="area" d="${filled ?? ''}"/>`}
<path class="line-${at}" d="${drawn ?? ''}"/>`
}

function y (value: number, top: number): number {
  return Math.round((1 - Math.min(1, value / top)) * (height - 4) * 10) / 10 + 2
}
