// Pages for readers: what they name is there.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import t from 'tap'

import { decisionsIndex, decisionsIndexPath } from '../../.ci/decisions-index.ts'
import { root, sources } from '../../.ci/sources.ts'

const docs = 'packages/fastify-tenancy/docs'
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

/** The README of a package and the pages of its docs. */
function pagesOf (folder: string): string[] {
  const pages = join('packages', folder, 'docs')
  const names = existsSync(join(root, pages)) ? readdirSync(join(root, pages)) : []
  return [join('packages', folder, 'README.md'), ...names.map(name => join(pages, name))]
}

t.test('each sentence of the threat model names a test that exists', async t => {
  const rows = read(`${docs}/threat-model.md`).split('\n')
    .filter(line => line.startsWith('| ') && !line.startsWith('| sentence'))
  t.ok(rows.length > 30, 'control')
  for (const row of rows) {
    const [, file = '', title = ''] = /\| `([\w/.-]+\.test\.ts)` "(.+)" \|$/.exec(row) ?? []
    t.ok(file !== '' && read(join('test', file)).includes(title), row)
  }
})

t.test('a link of the suite leads to a file of its own package, or to an address', async t => {
  const links = pagesOf('fastify-tenancy').flatMap(page =>
    Array.from(read(page).matchAll(/\]\(([^)#]+)[^)]*\)/g), ([, link = '']) => ({ page, link }))
  ).filter(({ link }) => !/^https?:/.test(link))
  t.ok(links.length > 20, 'control')
  for (const { page, link } of links) {
    const target = relative(join(root, 'packages/fastify-tenancy'), join(root, dirname(page), link))
    t.notOk(target.startsWith('..'), `${page} links to ${link}, which is not in the tarball`)
    t.ok(existsSync(join(root, dirname(page), link)), `${page} links to ${link}`)
  }
})

t.test('guides name an actor', async t => {
  // errors.md repeats the sources' docstrings.
  for (const page of pagesOf('fastify-tenancy').filter(name => !name.endsWith('/errors.md')))
    t.notMatch(read(page), /\b(?:nobody|somebody|whoever|everybody|anybody)\b/i, page)
})

t.test('the page of codes has each SQLSTATE of the suite, and no other', async t => {
  const raised = new Set(sources().flatMap(({ text }) => text.match(/\bTN\d{3}\b/g) ?? []))
  const listed = read(`${docs}/events.md`).match(/(?<=^\| `)TN\d{3}(?=` \|)/gm) ?? []
  t.same(listed, [...raised].toSorted())
})

t.test('each word stands once in the glossary, in order', async t => {
  const words = read(`${docs}/glossary.md`).match(/(?<=^\| )[^|]+(?= \|)/gm)?.slice(1) ?? []
  t.ok(words.length > 40, 'control')
  t.same(words, [...new Set(words)].toSorted())
})

t.test('the index of decisions has each decision of each package', async t => {
  const index = decisionsIndex()
  t.ok((index.match(/^- /gm)?.length ?? 0) > 60, 'control')
  t.equal(readFileSync(decisionsIndexPath, 'utf8'), index, 'run node .ci/decisions-index.ts')
})
