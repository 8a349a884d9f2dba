// The files of a new application, for every combination of choices.
import { applicationFiles, choose, type Choices } from 'create-fastify-tenancy'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import ts from 'typescript'
import { parse } from 'yaml'

import { allPairs, coveredBy, pairsOf } from '../../.ci/pairs.ts'
import { root } from '../../.ci/sources.ts'
import { keepBlocks, toJavaScript, toTypeScript } from '../../packages/create-fastify-tenancy/src/render.ts'

const values = {
  strategy: ['rls', 'row', 'schema', 'database'],
  database: ['postgres', 'pglite'],
  redis: [true, false],
  language: ['ts', 'js']
} as const

const all: Choices[] = values.strategy.flatMap(strategy =>
  values.database.flatMap(database =>
    values.redis.flatMap(redis =>
      values.language.map(language => ({ name: 'shop', strategy, database, redis, language }))
    )
  )
)
const applications = await Promise.all(
  all.map(async choices => ({ choices, files: await applicationFiles(choices) }))
)

t.test('no file holds what belongs to the templates, and each ends with its line', async t => {
  for (const { choices, files } of applications) {
    for (const [path, text] of files) {
      const where = `${JSON.stringify(choices)} ${path}`
      t.notMatch(text, /#if|#end|\{\{|\/\*:/, where)
      t.match(text, /[^\n]\n$/, where)
      t.notMatch(text, /[ \t]$|\n\n\n/m, where)
      if (/\.[jt]s$/.test(path)) t.ok(text.split('\n').every(line => line.length <= 110), where)
    }
  }
})

t.test('every source can be read, in both languages', async t => {
  for (const { choices, files } of applications) {
    const ending = choices.language === 'ts' ? '.ts' : '.js'
    const sources = [...files].filter(([path]) => /\.[jt]s$/.test(path))
    t.ok(sources.length >= 9 && sources.every(([path]) => path.endsWith(ending)), 'control')
    for (const [path, text] of sources) {
      // JavaScript is read as such: a type that was left there is an error.
      const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest) as ts.SourceFile & {
        readonly parseDiagnostics: readonly ts.Diagnostic[]
      }
      const problems = file.parseDiagnostics.map(({ messageText }) => messageText)
      t.same(problems, [], `${JSON.stringify(choices)} ${path}`)
      for (const [, imported = ''] of text.matchAll(/(?:from|import) '(\.[^']+)'/g))
        t.ok(files.has(join(path, '..', imported)), `${path} imports ${imported}`)
    }
  }
})

t.test('a JavaScript application has no file, dependency or command of TypeScript', async t => {
  for (const { files } of applications.filter(({ choices }) => choices.language === 'js')) {
    t.same([...files.keys()].filter(path => /\.ts$|tsconfig/.test(path)), [])
    const text = [...files.values()].join('\n')
    t.notMatch(text, /typescript|typecheck|\.ts\b/i)
  }
})

t.test('package.json names what the files import, at the versions of this workspace', async t => {
  interface Manifest {
    readonly version: string
    readonly dependencies?: Readonly<Record<string, string>>
    readonly devDependencies?: Readonly<Record<string, string>>
  }
  const manifestOf = (path: string): Manifest =>
    JSON.parse(readFileSync(join(root, path, 'package.json'), 'utf8')) as Manifest
  const workspace: Readonly<Record<string, string | undefined>> = {
    ...manifestOf('.').devDependencies,
    ...manifestOf('packages/fastify-tenancy').devDependencies,
    // The compiler under its own name.
    typescript: '^6.0.2'
  }
  const { version } = manifestOf('packages/fastify-tenancy')
  for (const { files } of applications) {
    const { dependencies, devDependencies } = JSON.parse(files.get('package.json') ?? '') as Manifest
    const named = { ...dependencies, ...devDependencies }
    const imported = new Set(
      [...files].filter(([path]) => /\.[jt]s$/.test(path)).flatMap(([, text]) =>
        [...text.matchAll(/(?:from|import) '((?!node:)[@\w][^']*)'/g)].map(([, name = '']) => name)
      )
    )
    t.ok(imported.size >= 5, 'control')
    for (const name of imported) t.ok(name in named, name)
    for (const [name, range] of Object.entries(named))
      t.equal(range, /fastify-tenancy/.test(name) ? `^${version}` : workspace[name], name)
  }
})

t.test('compose.yaml has what the choices need, and .env each of its secrets', async t => {
  for (const { choices: { database, redis }, files } of applications) {
    const text = files.get('compose.yaml') ?? ''
    const { services, volumes } = parse(text, { merge: true }) as Record<string, Record<string, object>>
    t.same(Object.keys(services ?? {}).toSorted(), ['app', ...database === 'postgres' ? ['postgres'] : [],
      ...redis ? ['redis'] : [], 'set-up'])
    t.same(Object.keys(volumes ?? {}), [database === 'postgres' ? 'postgres' : 'data'])
    const secrets = new Map([...(files.get('.env') ?? '').matchAll(/^(\w+)=([\da-f]{48})$/gm)].map(
      ([, name = '', value]) => [name, value]
    ))
    const wanted = [...text.matchAll(/\$\{(\w+):\?/g)].map(([, name = '']) => name)
    t.same([...secrets.keys()].toSorted(), [...new Set(wanted)].toSorted())
    t.equal(new Set(secrets.values()).size, secrets.size, 'no secret is used twice')
    for (const path of ['.gitignore', '.dockerignore'])
      for (const line of ['.env', 'node_modules', 'data'])
        t.match(files.get(path), new RegExp(`^${line.replace('.', '\\.')}/?$`, 'm'), `${path}: ${line}`)
  }
})

t.test('the secrets are new for each application', async t => {
  const [one, two] = await Promise.all([applicationFiles(choose({})), applicationFiles(choose({}))])
  t.not(one.get('.env'), two.get('.env'))
})

t.test('the README names files that are there, and scripts of package.json', async t => {
  for (const { files } of applications) {
    const readme = files.get('README.md') ?? ''
    const { scripts } = JSON.parse(files.get('package.json') ?? '') as { scripts: Record<string, string> }
    const named = [...readme.matchAll(/`([\w./-]+\.(?:ts|js|json|yaml))`/g)].map(([, path = '']) => path)
    t.ok(named.length >= 6, 'control')
    for (const path of named) t.ok(files.has(path), path)
    for (const [, script = ''] of readme.matchAll(/npm run ([\w-]+)/g)) t.ok(script in scripts, script)
  }
})

t.test('choices that are none are refused', async t => {
  t.throws(() => choose({ strategy: 'hope' as 'rls' }), /strategy must be one of rls, .* got 'hope'/)
  t.throws(() => choose({ redis: 'no' as unknown as boolean }), /redis must be one of true, false, got 'no'/)
  t.throws(() => choose({ name: 'a b' }), /the name 'a b' must begin/)
})

t.test('a template with an open block or an unknown fact is an error', async t => {
  t.equal(keepBlocks('a\n# #if x\nb\n# #if !y\nc\n# #end\n# #end\nd', { x: true, y: true }), 'a\nb\nd')
  t.throws(() => keepBlocks('// #if x', { x: true }), /#if without #end/)
  t.throws(() => keepBlocks('// #end', {}), /#end without #if/)
  t.throws(() => keepBlocks('<!-- #if z -->\n<!-- #end -->', {}), /unknown fact 'z'/)
})

t.test('types in comments become types, or nothing', async t => {
  const template = "/*:: import type { A } from './a.js' */\nexport const f = (a/*: A */)/*: void */ => {}\n"
  t.equal(toTypeScript(template), "import type { A } from './a.ts'\nexport const f = (a: A): void => {}\n")
  t.equal(toJavaScript(template), 'export const f = (a) => {}\n')
})

t.test('the rows that test:create tries hold every pair of choices', async t => {
  const rows = allPairs(values)
  t.equal(rows.length, 8)
  t.same(new Set(rows.flatMap(coveredBy)), new Set(pairsOf(values)))
  t.equal(pairsOf(values).length, 36)
  const bigger = { a: [1, 2, 3], b: [1, 2, 3], c: [1, 2, 3], d: [1, 2] }
  t.same(new Set(allPairs(bigger).flatMap(coveredBy)), new Set(pairsOf(bigger)))
})
