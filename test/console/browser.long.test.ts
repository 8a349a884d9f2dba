// Every page of the console in light, in dark and on a phone, with all that a page can show.
import t from 'tap'

import { noChromium, startChromium } from '../support/chromium.ts'
import { axeFindings, isTooWide, operatorPage } from './browser.ts'
import { consoleWorld } from './console-world.ts'

t.test('every page in light, dark and on a phone', { skip: noChromium }, async t => {
  const { app, manager, on } = await consoleWorld(t)
  await manager.create({ slug: 'paused', id: 'p-1' })
  await manager.suspend({ id: 'p-1' }, {
    reason: 'a reason of many words that a phone must break into several lines'
  })
  await manager.create({ slug: 'leaving', id: 'l-1', name: 'x'.repeat(200) })
  await manager.delete({ id: 'l-1' })
  await on.admin('create table orders (tenant_id text)')
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  const browser = await startChromium(t)
  const desktop = { width: 1280, height: 900 }
  const forms = {
    light: { viewport: desktop },
    dark: { viewport: desktop, colorScheme: 'dark' },
    phone: {
      viewport: { width: 375, height: 800 }
    },
    'dark phone': { viewport: { width: 320, height: 640 }, colorScheme: 'dark' }
  } as const
  const paths = ['/', '/?q=nobody', '/tenants/a-1?done=plan', '/tenants/p-1', '/tenants/l-1',
    '/tenants/g-1/suspend', '/tenants/g-1/plan?plan=free', '/fleet', '/doctor', '/tenants/none']
  for (const [form, options] of Object.entries(forms)) {
    const { page } = await operatorPage(t, browser, address, options)
    for (const path of paths) {
      await page.goto(`/_tenancy${path}`)
      t.same(await axeFindings(page), [], `${path} ${form}`)
      t.notOk(await isTooWide(page), `${path} ${form} needs no scrolling sideways`)
      for (const summary of await page.locator('summary').all()) await summary.click()
      t.same(await axeFindings(page), [], `${path} ${form}, all opened`)
    }
  }
  const { page } = await operatorPage(t, browser, address, { extraHTTPHeaders: {} })
  await page.goto('/_tenancy/')
  t.same(await axeFindings(page), [], 'the page that a stranger gets')
})
