// Debian's Chromium, driven by playwright-core.
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { chromium, type Browser } from 'playwright-core'
import type { Test } from 'tap'

const executable = (process.env.PATH ?? '').split(delimiter).map(folder => join(folder, 'chromium')).find(
  existsSync
)

/** Why tests in a browser are skipped; false where there is one. */
export const noChromium: string | false = executable === undefined &&
  'needs chromium on PATH (Debian: apt-get install chromium)'

/** A browser that calls nothing but the test's own server; closed when the test ends. */
export async function startChromium (t: Test): Promise<Browser> {
  const browser = await chromium.launch({
    executablePath: executable ?? 'chromium',
    args: ['--no-sandbox', '--headless', '--disable-background-networking', '--disable-gpu']
  })
  t.teardown(() => browser.close())
  return browser
}
