// Links, test names and lengths of READMEs and guides.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'

import { packageFolders, root } from '../../.ci/sources.ts'

/** Each page of a package, by its path below packages/. */
const pages = new Map(
  packageFolders().flatMap(folder =>
    ['', 'docs'].flatMap(under => {
      const path = join(root, 'packages', folder, under)
      return existsSync(path)
        ? readdirSync(path).filter(name => name.endsWith('.md')).map(name => join(folder, under, name))
        : []
    })
  ).map(path => [path, readFileSync(join(root, 'packages', path), 'utf8')] as const)
)

/** Anchors as GitHub makes them of headings. */
function anchors (page: string): ReadonlySet<string> {
  return new Set(Array.from(
    page.replaceAll(/^```[^]*?^```/gm, '').matchAll(/^#+ (.+)$/gm),
    ([, heading = '']) => heading.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, '').replaceAll(' ', '-')
  ))
}

// A link out of a package names the repository, because a tarball has only its own files.
const repository = 'https://github.com/fastify-tenancy/fastify-tenancy/blob/main/packages/'

t.test('every link leads to a file, and to a heading of it', async t => {
  let links = 0
  for (const [path, page] of pages) {
    const own = page.replaceAll(`](${repository}`, `](${'../'.repeat(dirname(path).split('/').length)}`)
    for (const [, target = '', anchor] of own.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)) {
      links++
      const file = target === '' ? path : join(dirname(path), target)
      t.ok(existsSync(join(root, 'packages', file)), `${path}: ${target}`)
      const linked = pages.get(file)
      if (anchor !== undefined && linked !== undefined)
        t.ok(anchors(linked).has(anchor), `${path}: ${target}#${anchor}`)
    }
  }
  t.ok(links > 100, 'control')
})

t.test('a relative link stays in its package', async t => {
  for (const [path, page] of pages) {
    const folder = path.split('/')[0] ?? ''
    if (folder === 'benchmarks') continue
    for (const [, target = ''] of page.matchAll(/\]\((?!https?:|#)([^)#\s]+)/g))
      t.ok(join(dirname(path), target).startsWith(`${folder}/`), `${path}: ${target}`)
  }
})

t.test('every test that a guide names exists', async t => {
  const folders = readdirSync(join(root, 'test')).join('|')
  const name = new RegExp('`(?:test/)?((?:' + folders + ')/[a-z0-9-]+(?:\\.long)?)(?:\\.test\\.ts)?`', 'g')
  for (const [path, page] of pages) {
    for (const [, test = ''] of page.matchAll(name)) {
      t.ok(
        [`${test}.test.ts`, test].some(file => existsSync(join(root, 'test', file))),
        `${path}: ${test}`
      )
    }
  }
})

t.test('a README has fewer than 150 lines', async t => {
  for (const [path, page] of pages) {
    // The benchmarks are not published; their README is a record of figures.
    if (!path.endsWith('/README.md') || path.startsWith('benchmarks/')) continue
    t.ok(page.split('\n').length < 150, path)
  }
})
