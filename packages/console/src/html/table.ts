import { html, type Html, type HtmlValue } from './html.ts'

/**
 * A table whose rows become cards on a phone, where a cell that is `undefined` is left out. The
 * first cell of a row names it. Roles are written out, because browsers drop them where CSS changes
 * how a table is displayed.
 */
export function table (
  caption: string,
  columns: readonly string[],
  rows: readonly (readonly HtmlValue[])[]
): Html {
  return html`<table class="cards" role="table"><caption class="hidden">${caption}</caption>
<thead role="rowgroup"><tr role="row">${
    columns.map(column => html`<th scope="col" role="columnheader">${column}</th>`)
  }</tr></thead>
<tbody role="rowgroup">${
    rows.map(([name, ...cells]) =>
      html`<tr role="row"><th scope="row" role="rowheader">${name}</th>${
        cells.map((cell, at) =>
          html`<td role="cell" data-label="${columns[at + 1]}"${
            cell === undefined && html` class="none"`
          }><span>${cell ?? '–'}</span></td>`
        )
      }</tr>
`
    )
  }</tbody></table>`
}
