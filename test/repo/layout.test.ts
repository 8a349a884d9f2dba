// Rules of the repository that no single file shows.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, join } from 'node:path'
import t from 'tap'

import { packageFolders, root, sources } from '../../.ci/sources.ts'

interface Manifest {
  readonly name: string
  readonly private?: boolean
  readonly files: readonly string[]
  readonly description: string
  readonly keywords?: readonly string[]
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly peerDependenciesMeta?: Readonly<Record<string, { readonly optional: boolean }>>
  readonly [field: string]: unknown
}

const all = sources()
const code = all.filter(({ path }) => path.endsWith('.ts'))
const readManifest = (folder: string): Manifest =>
  JSON.parse(readFileSync(join(root, 'packages', folder, 'package.json'), 'utf8')) as Manifest
const published = packageFolders().filter(folder => readManifest(folder).private !== true)
const plugins = ['resolver', 'database', 'rate-limit', 'cache']

// Which package may import which. Plugins use each other's decorators and never import each other.
const arrows: Readonly<Record<string, readonly string[]>> = {
  core: [],
  redis: ['core'],
  testing: ['core'],
  telemetry: ['core'],
  resolver: ['core', 'redis'],
  'rate-limit': ['core', 'redis'],
  cache: ['core', 'redis'],
  postgres: ['core'],
  database: ['core', 'postgres'],
  manager: ['core', 'redis', 'postgres', 'database'],
  cli: ['core', 'manager', 'rate-limit'],
  console: ['core', 'manager'],
  'fastify-tenancy': ['core', 'redis', 'resolver', 'database', 'rate-limit', 'cache'],
  'create-fastify-tenancy': []
}
// The package names that stand without the scope.
const unscoped = ['fastify-tenancy', 'create-fastify-tenancy']

// Which folder of a package may import which other folder. '.' stands for the files beside the index.
// A package that is not listed has no folders.
const folderArrows: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  postgres: {
    'client': ['.'],
    'doctor': ['client', 'install', 'placement', 'policies', 'roles', 'tables'],
    'install': ['.', 'client', 'policies', 'roles', 'tables'],
    'placement': ['.', 'client', 'roles', 'tables'],
    'policies': ['.', 'client', 'roles', 'tables'],
    'registry': ['.', 'client', 'tables'],
    'roles': ['.', 'client'],
    'tables': ['.', 'client']
  },
  database: {
    '.': ['connection', 'health', 'kysely', 'observe', 'options', 'pg', 'routing', 'system'],
    'compilers': ['connection', 'harmless', 'options', 'rewrite'],
    'connection': ['options'],
    'context': ['connection'],
    'harmless': ['connection', 'options', 'rewrite'],
    'kysely': ['connection', 'options'],
    'observe': ['connection'],
    'pg': ['connection', 'kysely', 'options'],
    'pools': ['connection', 'harmless', 'options'],
    'rewrite': ['options'],
    'routing': ['compilers', 'connection', 'context', 'harmless', 'kysely', 'options', 'pools'],
    'system': ['connection', 'context', 'harmless', 'kysely', 'options', 'pools', 'routing']
  },
  manager: {
    '.': ['adopt', 'context', 'doctor', 'domains', 'lifecycle', 'migrations', 'move', 'restore', 'setup',
      'tenant-rows', 'transfer'],
    'adopt': ['context', 'lifecycle', 'setup'],
    'doctor': ['context', 'migrations', 'placement'],
    'domains': ['context', 'operations'],
    'lifecycle': ['context', 'domains', 'lockouts', 'migrations', 'move', 'operations', 'placement',
      'removal', 'tenant-rows'],
    'lockouts': ['context', 'placement'],
    'migrations': ['context', 'operations', 'placement'],
    'move': ['context', 'lockouts', 'migrations', 'operations', 'placement', 'removal', 'tenant-rows'],
    'operations': ['context', 'placement'],
    'placement': ['context'],
    'removal': ['context', 'lockouts', 'operations', 'placement', 'tenant-rows'],
    'restore': ['context', 'lockouts', 'move', 'operations', 'placement', 'tenant-rows', 'transfer'],
    'setup': ['context', 'migrations', 'placement'],
    'tenant-rows': ['context', 'placement'],
    'transfer': ['context', 'lifecycle', 'migrations', 'operations', 'placement', 'removal', 'tenant-rows']
  },
  console: {
    '.': ['assets', 'routes'],
    'pages': ['data', 'html', 'plots'],
    'plots': ['data', 'html'],
    'routes': ['assets', 'data', 'html', 'pages', 'plots']
  },
  core: { 'entries': ['.'] },
  cache: { '.': ['lua'] },
  'rate-limit': { '.': ['lua'] },
  testing: { '.': ['isolation'] },
  cli: {
    '.': ['commands', 'run', 'terminal'],
    'commands': ['run', 'terminal'],
    'run': ['terminal']
  }
}

/** Returns the packages that a source imports, without files and Node's own modules. */
function imports (text: string): string[] {
  return [
    ...text.matchAll(
      /^(?:import|export)\b[^'`;=]*? from '([^']+)'|^import '([^']+)'|^[^*\n]*\bimport\('([^']+)'\)/gm
    )
  ]
    .map(([, named, bare, dynamic]) => named ?? bare ?? dynamic ?? '')
    .filter(name => !name.startsWith('.') && !name.startsWith('node:') && !builtinModules.includes(name))
    .map(name => name.split('/').slice(0, name.startsWith('@') ? 2 : 1).join('/'))
}

t.test('every package has the files that a reader looks for', async t => {
  for (const folder of published) {
    for (const file of ['package.json', 'tsconfig.json', 'README.md', 'src/index.ts'])
      t.ok(existsSync(join(root, 'packages', folder, file)), `packages/${folder}/${file}`)
    t.ok(existsSync(join(root, 'test', folder)) || folder === 'fastify-tenancy', `test/${folder}`)
  }
  for (const folder of [...plugins, 'fastify-tenancy']) {
    const options = folder === 'database' ? 'options/options.ts' : 'options.ts'
    for (const file of ['plugin.ts', options, 'augment.ts'])
      t.ok(existsSync(join(root, 'packages', folder, 'src', file)), `packages/${folder}/src/${file}`)
  }
})

t.test('an index only hands names on', async t => {
  for (const { path, text } of code.filter(source => source.path.endsWith('/src/index.ts'))) {
    t.notMatch(text, /^(?:const|let|function|class|async|if|for)\b/m, path)
  }
})

t.test('a plugin names itself, its Fastify and what it depends on', async t => {
  for (const folder of [...plugins, 'fastify-tenancy']) {
    const { text = '' } = code.find(({ path }) => path === `packages/${folder}/src/plugin.ts`) ?? {}
    t.match(text, /\bfp\(/, folder)
    t.match(text, new RegExp(`name: '${readManifest(folder).name}'`), folder)
    t.match(text, /fastify: '5\.x'/, folder)
  }
})

t.test('packages import only along the arrows of the design', async t => {
  for (const { folder, path, text } of code) {
    for (
      const name of imports(text).filter(imported =>
        /^(?:@fastify-tenancy\/|fastify-tenancy$)/.test(imported)
      )
    ) {
      const target = name.replace('@fastify-tenancy/', '')
      t.ok(arrows[folder]?.includes(target), `${path} imports ${name}`)
    }
  }
})

const folderOf = (path: string): string => path.includes('/') ? dirname(path) : '.'

t.test('folders import only along the arrows of the design', async t => {
  for (const { folder, path, text } of code) {
    if (path.endsWith('/index.ts')) continue
    const allowed = folderArrows[folder] ?? {}
    const file = path.slice(`packages/${folder}/src/`.length)
    const from = folderOf(file)
    for (const [, imported = ''] of text.matchAll(/ from '(\.[^']+)'/g)) {
      const to = folderOf(join(dirname(file), imported))
      t.ok(to === from || allowed[from]?.includes(to), `${path} imports ${imported}`)
    }
  }
  for (const [name, graph] of Object.entries(folderArrows)) {
    for (const folder of Object.keys(graph).filter(folder => folder !== '.'))
      t.ok(code.some(({ path }) => path.startsWith(`packages/${name}/src/${folder}/`)), `${name}/${folder}`)
  }
})

t.test('no folder imports itself through others', async t => {
  for (const [name, graph] of Object.entries(folderArrows)) {
    const reaches = (from: string, to: string, seen = new Set<string>()): boolean =>
      (graph[from] ?? []).some(next => next === to || (!seen.has(next) && reaches(next, to, seen.add(next))))
    t.same(Object.keys(graph).filter(folder => reaches(folder, folder)), [], name)
  }
})

const exported = new RegExp(
  '^export (?:declare |default )?(?:abstract )?(?:async ' +
    String.raw`)?(?:function\*?|class|interface|type|const|let) (\w+)`,
  'gm'
)

t.test('an exported name has one meaning in the whole repository', async t => {
  const places = new Map<string, Set<string>>()
  for (const { path, text } of code) {
    for (const [, name = ''] of text.matchAll(exported))
      places.set(name, (places.get(name) ?? new Set()).add(path))
  }
  t.ok(places.size > 500, 'control')
  t.same([...places].filter(([, paths]) => paths.size > 1).map(([name, paths]) => [name, ...paths]), [])
})

t.test('another file uses what a file exports', async t => {
  const named = new Map<string, Set<string>>()
  const imported = new Set<string>()
  const files = execFileSync(
    'git',
    ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '*.ts'],
    {
      cwd: root,
      encoding: 'utf8'
    }
  ).split('\0').filter(Boolean)
  for (const file of files.filter(name => existsSync(join(root, name)))) {
    const text = readFileSync(join(root, file), 'utf8')
    for (const [, names = ''] of text.matchAll(/^(?:import|export)\b[^'`;=]*?\{([^}]*)\} from '/gm)) {
      for (const [name] of names.matchAll(/\w+/g)) named.set(name, (named.get(name) ?? new Set()).add(file))
    }
    for (const [, name = ''] of text.matchAll(/\bimport\('[^']+'\)\.(\w+)/g))
      named.set(name, (named.get(name) ?? new Set()).add(file))
    for (const [, from = ''] of text.matchAll(/\* as \w+ from '(\.[^']+)'/g))
      imported.add(join(dirname(file), from))
  }
  const isUsed = (name: string, path: string): boolean =>
    [...named.get(name) ?? []].some(file => file !== path)
  for (const { folder, path, text } of code) {
    if (folder === 'benchmarks' || imported.has(path)) continue
    for (const [, name = ''] of text.matchAll(exported))
      // `up` stands in the text of a migration that `tenancy init --print` writes.
      if (name !== 'up' && !isUsed(name, path)) t.fail(`${path} exports ${name} for no other file`)
  }
  t.notOk(isUsed('isUsed', 'test/repo/layout.test.ts'), 'control')
})

t.test('a package names what it imports, and nothing of the suite that it does not', async t => {
  for (const folder of published) {
    const { name, dependencies = {}, peerDependencies = {} } = readManifest(folder)
    const used = new Set(code.filter(source => source.folder === folder).flatMap(({ text }) => imports(text)))
    for (const imported of used)
      t.ok(imported in dependencies || imported in peerDependencies, `${name} names ${imported}`)
    for (const dependency of Object.keys(dependencies))
      t.ok(used.has(dependency), `${name} uses ${dependency}`)
  }
})

// npm signs a package only if this address is the one of the repository that publishes it.
const address = 'https://github.com/fastify-tenancy/fastify-tenancy'

t.test('manifests say the same things in the same way', async t => {
  for (const folder of published) {
    const manifest = readManifest(folder)
    t.equal(manifest.name, unscoped.includes(folder) ? folder : `@fastify-tenancy/${folder}`)
    t.match(manifest, {
      license: 'MIT',
      type: 'module',
      sideEffects: false,
      engines: { node: '>=22.12' },
      exports: {
        '.': {
          '@fastify-tenancy/source': './src/index.ts',
          types: './dist/index.d.ts',
          default: './dist/index.js'
        },
        './package.json': './package.json'
      }
    }, folder)
    t.same(Object.keys((manifest.exports as Record<string, object>)['.'] ?? {}), ['@fastify-tenancy/source',
      'types', 'default'], 'conditions are tried in this order')
    t.ok(
      ['CHANGELOG.md', 'dist', 'src', '!dist/*.tsbuildinfo'].every(pattern =>
        manifest.files.includes(pattern)
      ),
      folder
    )
    t.ok(manifest.description.length > 20, folder)
    t.match(manifest, {
      version: readManifest('core').version,
      homepage: `https://www.npmjs.com/package/${manifest.name}`,
      repository: { type: 'git', url: `git+${address}.git`, directory: `packages/${folder}` },
      bugs: `${address}/issues`,
      publishConfig: { access: 'public', provenance: true }
    }, folder)
    t.ok(manifest.keywords?.includes('multitenancy'), `${folder} is found by its keywords`)
    for (const [name, range] of Object.entries(manifest.dependencies ?? {}))
      t.equal(
        range.startsWith('workspace:'),
        name.startsWith('@fastify-tenancy/'),
        `${folder}: ${name} ${range}`
      )
    for (
      const driver of ['fastify', 'kysely', 'pg', 'ioredis', '@fastify/rate-limit', '@electric-sql/pglite']
    ) t.notOk(driver in (manifest.dependencies ?? {}), `${folder}: ${driver} is a peer`)
    for (const peer of Object.keys(manifest.peerDependenciesMeta ?? {}))
      t.ok(peer in (manifest.peerDependencies ?? {}), `${folder}: ${peer}`)
  }
})

t.test('each package has a changelog of its version, and one version for all', async t => {
  for (const folder of published) {
    const changelog = readFileSync(join(root, 'packages', folder, 'CHANGELOG.md'), 'utf8')
    t.match(changelog, `\n## ${readManifest(folder).version}\n`, folder)
  }
  // Patterns, so that a new package has the version of the others.
  t.match(JSON.parse(readFileSync(join(root, '.changeset/config.json'), 'utf8')), {
    fixed: [['*fastify-tenancy', '@fastify-tenancy/*']],
    access: 'public'
  })
})

t.test('a release is published by the repository that the manifests name, with their pnpm', async t => {
  const workflow = readFileSync(join(root, '.github/workflows/release.yml'), 'utf8')
  t.match(workflow, `github.repository == '${new URL(address).pathname.slice(1)}'`)
  const { scripts, packageManager } = readManifest('..') as Manifest & {
    readonly scripts: Readonly<Record<string, string>>
    readonly packageManager: string
  }
  for (const [, script = ''] of workflow.matchAll(/npm run ([\w:]+)/g)) t.ok(script in scripts, script)
  for (const script of ['release:version', 'release:publish'])
    t.ok(scripts[script]?.includes(packageManager), `${script} runs ${packageManager}`)
})

t.test('versions of one dependency are the same everywhere', async t => {
  const ranges = new Map<string, Set<string>>()
  for (const folder of published) {
    for (const [name, range] of Object.entries({ ...readManifest(folder).dependencies }))
      ranges.set(name, (ranges.get(name) ?? new Set()).add(range))
  }
  for (const [name, set] of ranges) t.equal(set.size, 1, `${name}: ${[...set].join(', ')}`)
})

t.test('only core/src/key.ts makes a key, a channel or an identifier of a tenant', async t => {
  const others = code.filter(({ path }) => path !== 'packages/core/src/key.ts')
  for (const { path, text } of others) {
    // The limits file and the command name a tenant by `id:…`. That is not a key.
    const source = withoutComments(text).replaceAll('`id:${tenant.id}`', '')
    // A key begins with `tenancy:` and continues without a space. A sentence of a log has a space
    // there.
    t.notMatch(source, /['"`](?:tenancy|tenant):[^\s'"`]/, path)
    t.notMatch(source, /['"`]tenant_\$\{/, path)
    t.notMatch(source, /[`:]\{?\$\{[\w.]*tenant\.(?:id|slug)\}\}?[:`]/, path)
  }
  t.match(
    withoutComments('const key = `tenancy:{${tenant.id}}:x`'),
    /['"`](?:tenancy|tenant):[^\s'"`]/,
    'control'
  )
})

t.test('sources are short and carry no switches', async t => {
  for (const { path, text } of all) {
    t.ok(text.split('\n').length <= 351 || path.includes('generated'), `${path} has at most 350 lines`)
    t.notMatch(text, /@ts-(?:ignore|expect-error|nocheck)|eslint-disable/, path)
    t.notMatch(withoutComments(text), /: any\b|<any>|\bas any\b|\bconsole\.\w+\(/, path)
    if (path !== 'packages/core/src/register.ts') t.notMatch(text, /oxlint-disable/, path)
  }
})

t.test('no file names the machine that it was written on', async t => {
  const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8'
  }).split('\0').filter(Boolean)
  for (const file of files.filter(name => existsSync(join(root, name)))) {
    const text = readFileSync(join(root, file), 'utf8')
    const place =
      /(?:^|[^\w.])\/(?:root|home\/\w+|Users\/\w+|private\/tmp)\/\S*|(?:tarball|resolved):? "?https?:\S*/
        .exec(text)
    t.equal(place?.[0], undefined, file)
  }
})

function withoutComments (text: string): string {
  return text.replaceAll(/\/\*[^]*?\*\//g, '').replaceAll(/(?<=^|\s)\/\/.*$/gm, '')
}
