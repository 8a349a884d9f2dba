// The console in a real browser: without a script, by keyboard, with hostile names, from another
// site, and under axe.
import t from 'tap'

import { noChromium, startChromium } from '../support/chromium.ts'
import { axeFindings, operatorPage } from './browser.ts'
import { consoleWorld, hostile } from './console-world.ts'

t.test('the console in a browser', { skip: noChromium }, async t => {
  const { app, manager } = await consoleWorld(t)
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  const browser = await startChromium(t)

  t.test(
    'without a script, an operator suspends, resumes, changes the plan and invalidates by ' +
      'keyboard',
    async t => {
      const { page } = await operatorPage(t, browser, address, { javaScriptEnabled: false })
      const press = async (role: 'link' | 'button', name: RegExp): Promise<void> => {
        await page.getByRole(role, { name }).focus()
        await page.keyboard.press('Enter')
      }
      await page.goto('/_tenancy/')
      await page.keyboard.press('Tab')
      t.equal(await page.locator(':focus').textContent(), 'Skip to the content')
      await press('link', /^globex$/)
      await page.getByRole('heading', { level: 1, name: 'globex' }).waitFor()
      for (
        const [open, role, done] of [[/^Suspend…/, 'link', 'The tenant is suspended.'], [/^Resume…/, 'link',
          'The tenant is served again.'], [/^Change plan…/, 'button', 'The plan is changed.'], [
          /^Invalidate…/,
          'link',
          'Every process looks the tenant up again.'
        ]] as const
      ) {
        if (role === 'button') await page.getByLabel('New plan').fill('free')
        await press(role, open)
        await press('button', / globex$/)
        await page.getByText(done).waitFor()
      }
      t.match(await manager.get({ id: 'g-1' }), { status: 'active', plan: 'free', version: 5 })
    }
  )

  t.test('a form on another site is refused, and so is one that was sent already', async t => {
    const { page } = await operatorPage(t, browser, address)
    await page.goto('/_tenancy/tenants/g-1/invalidate')
    const form = await page.locator('form').evaluate((form: { outerHTML: string }) => form.outerHTML)
    const body = form.replace('action="', `action="${address}`)
    const before = await manager.get({ id: 'g-1' })
    for (const url of ['http://evil.test/', `${address}/same-site`])
      await page.route(url, route => route.fulfill({ contentType: 'text/html', body }))
    await page.goto('http://evil.test/')
    await page.getByRole('button').click()
    await page.getByText('This confirmation is not valid, and nothing was done').waitFor()
    t.same(await manager.get({ id: 'g-1' }), before)
    await page.goto('/same-site')
    await page.getByRole('button').click()
    await page.getByText('Every process looks the tenant up again.').waitFor()
    await page.goto('/same-site')
    await page.getByRole('button').click()
    await page.getByText('This confirmation was used already, and nothing was done again.').waitFor()
    t.equal((await manager.get({ id: 'g-1' }))?.version, (before?.version ?? 0) + 1)
  })

  t.test('a hostile name is shown as text, and the page renews its live part', async t => {
    const { page, complaints } = await operatorPage(t, browser, address)
    await page.clock.install()
    for (const path of ['/', '/tenants/a-1']) {
      await page.goto(`/_tenancy${path}`)
      t.ok(await page.getByText(hostile).first().isVisible(), path)
      t.equal(await page.locator('img').count(), 0)
      t.match(await page.title(), / – tenancy console$/)
    }
    await page.goto('/_tenancy/fleet')
    await page.clock.runFor(16_000)
    await page.getByText('Live, renewed at').waitFor()
    t.same(complaints, [])
    await app.close()
    await page.clock.runFor(16_000)
    await page.getByText('Not live: the last renewal failed').waitFor()
  })
})

t.test('axe finds nothing in light and dark', { skip: noChromium }, async t => {
  const { app } = await consoleWorld(t)
  const address = await app.listen({ port: 0, host: '127.0.0.1' })
  const browser = await startChromium(t)
  for (const colorScheme of ['light', 'dark'] as const) {
    const { page, complaints } = await operatorPage(t, browser, address, { colorScheme })
    for (const path of ['/', '/tenants/a-1']) {
      await page.goto(`/_tenancy${path}`)
      t.same(await axeFindings(page), [], `${path} ${colorScheme}`)
    }
    t.same(complaints, [])
    await page.evaluate('document.documentElement.removeAttribute("lang")')
    t.match(await axeFindings(page), [/^html-has-lang/], 'control: axe can find')
  }
})
