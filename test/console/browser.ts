// The console in a browser: an operator's context, and what axe finds.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import type { Test } from 'tap'

import { operator } from './console-world.ts'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

export interface OperatorPage {
  readonly page: Page
  /** What the browser complained of: violations of the policy, broken markup, failed scripts. */
  readonly complaints: string[]
}

/** A page of a browser whose requests are an operator's. */
export async function operatorPage (
  t: Test,
  browser: Browser,
  address: string,
  options: BrowserContextOptions = {}
): Promise<OperatorPage> {
  const context = await browser.newContext({
    baseURL: address,
    extraHTTPHeaders: { 'x-operator': operator },
    ...options
  })
  t.teardown(() => context.close())
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('pageerror', error => complaints.push(error.message))
  page.on('console', message => {
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text())
  })
  return { page, complaints }
}

/** What axe finds on the page, all rules on: `color-contrast main > p`. */
export async function axeFindings (page: Page): Promise<string[]> {
  // As the developer tools would, which no policy of the page forbids.
  await page.evaluate(`${axe}; undefined`)
  return page.evaluate(
    'axe.run().then(({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => ' +
      '`${id} ${target.join(" ")}`)))'
  )
}

/** Whether a reader must scroll sideways. */
export async function isTooWide (page: Page): Promise<boolean> {
  return page.evaluate('document.documentElement.scrollWidth > document.documentElement.clientWidth')
}
