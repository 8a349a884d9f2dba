import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** One bar: a name, a length and the text at its end. */
export interface Bar {
  readonly name: string
  readonly value: number
  readonly text: string
}

/** Horizontal bars as an SVG, in groups with a title each. */
export function bars (groups: readonly { readonly title: string; readonly bars: readonly Bar[] }[]): string {
  const [left, width, row] = [230, 320, 22]
  const lines: string[] = []
  let y = 0
  for (const { title, bars } of groups) {
    const longest = Math.max(...bars.map(({ value }) => value))
    lines.push(`<text x="8" y="${y += row + 6}" font-weight="bold">${escape(title)}</text>`)
    for (const { name, value, text } of bars) {
      y += row
      const length = (value / longest * width).toFixed(0)
      lines.push(
        `<text x="${left - 8}" y="${y}" text-anchor="end">${escape(name)}</text>`,
        `<rect x="${left}" y="${y - 12}" width="${length}" height="14" fill="${color(name)}"/>`,
        `<text x="${left + Number(length) + 6}" y="${y}">${escape(text)}</text>`
      )
    }
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${left + width + 90}" height="${y + 14}" ` +
    `font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>\n${
      lines.join('\n')
    }\n</svg>\n`
}

/** With `--save`, writes a plot beside the README. */
export function savePlot (name: string, svg: string): void {
  if (process.argv.includes('--save')) writeFileSync(join(import.meta.dirname, '..', name), svg)
}

function color (name: string): string {
  return name.startsWith('suite') ? '#2f6fb0' : '#b9bec5'
}

function escape (text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
