// Packs the packages as they would be published and checks them as a user gets them.
// Checks contents and manifest of each tarball, publint, attw, and an empty project. The project
// installs all tarballs with their dependencies, imports each and compiles against it.
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync,
  writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { budgets } from './budgets.ts'
import { hiddenTypes } from './exported-types.ts'
import { followReadme } from './follow-readme.ts'
import { pack, peerRanges, pnpm, readManifest, run, type Package } from './pack.ts'
import { root } from './sources.ts'

const work = mkdtempSync(join(tmpdir(), 'check-packages-'))
const problems: string[] = []

/** Returns what the command printed. A failure becomes a problem, not an exception. */
async function check (what: string, command: string, args: string[], cwd = root): Promise<string> {
  try {
    return await run(command, args, cwd)
  } catch (error) {
    problems.push(
      `${what}\n${String(error instanceof Error ? error.message : error).replaceAll(/^/gm, '    ')}`
    )
    return ''
  }
}

async function checkTarball ({ name, folder, tarball }: Package): Promise<void> {
  const unpacked = join(work, folder)
  mkdirSync(unpacked)
  await check(`${name} was not packed`, 'tar', ['-xzf', tarball, '-C', unpacked, '--strip-components=1'])
  const files = readdirSync(unpacked, { recursive: true, withFileTypes: true }).filter(entry =>
    entry.isFile()
  ).map(entry => join(entry.parentPath, entry.name).slice(unpacked.length + 1))
  if (!files.includes('package.json')) return

  const must = (isGood: boolean, problem: string): void => {
    if (!isGood) problems.push(`${name} ${problem}`)
  }
  for (const file of ['LICENSE', 'README.md', 'CHANGELOG.md']) must(files.includes(file), `has no ${file}`)
  for (
    const file of files.filter(file =>
      /\.test\.|\.tst\.|(^|\/)(test|tests|__tests__)\/|tsbuildinfo/.test(file)
    )
  ) must(false, `ships ${file}, which is of no use to its users`)
  // tsc never deletes, so dist would keep the output of removed sources and publish it.
  for (const file of files.filter(file => /^dist\/.*\.js$/.test(file)))
    must(
      files.includes(file.replace(/^dist/, 'src').replace(/\.js$/, '.ts')),
      `ships ${file}, whose source is gone: remove dist and build again`
    )

  const manifest = readManifest(unpacked)
  must(manifest.engines?.node === '>=22.12', 'must have engines.node ">=22.12"')
  must(
    manifest.exports?.['.'] !== undefined && manifest.exports['./package.json'] !== undefined,
    'must export "." and "./package.json"'
  )
  for (
    const [dependency, range] of Object.entries({ ...manifest.dependencies, ...manifest.peerDependencies })
  ) {
    must(
      !/^(workspace|file|link|catalog):/.test(range),
      `depends on ${dependency} as "${range}", which npm cannot resolve`
    )
  }
  checkBudget({ name, folder, tarball }, Object.keys(manifest.dependencies ?? {}).length, must)
  await check(`publint of ${name}`, 'publint', ['run', tarball, '--strict'])
  // attw resolves modules and JSON; other files, such as YAML, have no types to find.
  const untyped = Object.keys(manifest.exports ?? {}).filter(entry => /\.ya?ml$/.test(entry))
  await check(`attw of ${name}`, 'attw', [tarball, '--profile', 'esm-only', '--no-definitely-typed',
    '--format', 'ascii', '--no-emoji', ...untyped.length > 0 ? ['--exclude-entrypoints', ...untyped] : []])
}

function checkBudget (
  { folder, tarball }: Package,
  dependencies: number,
  must: (isGood: boolean, problem: string) => void
): void {
  const budget = budgets[folder]
  must(budget !== undefined, 'has no budget: add it to .ci/budgets.ts')
  if (budget === undefined) return
  const { size } = statSync(tarball)
  must(size <= budget.tarball, `packs ${size} bytes, over its budget of ${budget.tarball}`)
  must(
    dependencies <= budget.dependencies,
    `has ${dependencies} dependencies, over its budget of ${budget.dependencies}`
  )
}

const compilers = { 'TypeScript 6': 'typescript/lib/tsc.js', 'TypeScript 7': '@typescript/native/bin/tsc' }
const resolutions = { nodenext: 'nodenext', bundler: 'preserve' }

/**
 * Compiles a file against the installed packages and their declarations, with each compiler and
 * resolution.
 */
async function checkTypes (project: string, file: string, what: string): Promise<void> {
  for (const [moduleResolution, module] of Object.entries(resolutions)) {
    const compilerOptions = {
      module,
      moduleResolution,
      target: 'es2024',
      lib: ['es2024'],
      types: ['node'],
      strict: true,
      skipLibCheck: false,
      declaration: true,
      outDir: 'out'
    }
    writeFileSync(
      join(project, `tsconfig.${moduleResolution}.json`),
      JSON.stringify({ compilerOptions, files: [file] })
    )
    for (const [name, compiler] of Object.entries(compilers)) {
      await check(
        `${what} do not compile with ${name} and moduleResolution ${moduleResolution}`,
        process.execPath,
        [join(root, 'node_modules', compiler), '--project', `tsconfig.${moduleResolution}.json`],
        project
      )
    }
  }
}

/**
 * Returns a new project with only our tarballs, their dependencies, and each peer's first version.
 */
async function checkInstalled (packages: readonly Package[]): Promise<void> {
  const project = join(work, 'project')
  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
  writeFileSync(
    join(project, 'consumer.ts'),
    packages.map(({ name }, i) =>
      `import * as p${i} from '${name}'\nexport const names${i}: string[] = Object.keys(p${i})\n`
    ).join('')
  )
  const peers = [...peerRanges()].map(([peer, { lowest }]) => `${peer}@${lowest[0]}`)

  const before = problems.length
  await check(
    'npm cannot install the tarballs and the first versions of their peers into an empty project',
    'npm',
    ['install', '--no-audit', '--no-fund', '--loglevel=error', ...packages.map(({ tarball }) => tarball),
      ...peers, '@types/node@24'],
    project
  )
  if (problems.length > before) return
  await Promise.all(
    packages.map(async ({ name }) =>
      check(`${name} cannot be imported beside ${peers.join(' ')}`, process.execPath, ['--input-type=module',
        '--eval', `await import('${name}')`], project)
    )
  )
  copyFileSync(join(root, '.ci/smoke/app.js'), join(project, 'app.js'))
  await check('a small application does not run', process.execPath, ['app.js', 'limits.json'], project)
  await checkTypes(project, 'consumer.ts', 'the published types')
}

/**
 * A user's module in pnpm's layout, where a compiler cannot name types of indirect dependencies.
 */
async function checkReturnedTypes (packages: readonly Package[]): Promise<void> {
  const project = join(work, 'strict')
  mkdirSync(project)
  const suite = packages.find(({ name }) => name === 'fastify-tenancy')
  const peers = Object.fromEntries([...peerRanges()].map(([peer, { range }]) => [peer, range]))
  writeFileSync(
    join(project, 'package.json'),
    JSON.stringify({
      private: true,
      type: 'module',
      dependencies: { ...peers, 'fastify-tenancy': `file:${suite?.tarball}`, '@types/node': '^24' }
    })
  )
  const overrides = packages.filter(one => one !== suite).map(({ name, tarball }) =>
    `  '${name}': file:${tarball}\n`
  ).join('')
  writeFileSync(join(project, 'pnpm-workspace.yaml'), `overrides:\n${overrides}`)
  copyFileSync(join(root, '.ci/smoke/consumer.ts'), join(project, 'consumer.ts'))
  const before = problems.length
  await check(
    'pnpm cannot install the suite alone',
    'npx',
    pnpm('install', '--no-frozen-lockfile', '--ignore-scripts'),
    project
  )
  if (problems.length === before)
    await checkTypes(project, 'consumer.ts', 'exported functions that return what the suite gives')
}

async function checkReadme (packages: readonly Package[]): Promise<void> {
  await followReadme(packages, join(work, 'readme')).catch((error: unknown) => {
    problems.push(`the README of the suite cannot be followed in an empty project: ${String(error)}`)
  })
}

function entries ({ folder }: Package): string[] {
  const { exports = {} } = readManifest(join(root, 'packages', folder))
  const types = Object.values(exports).map(entry =>
    typeof entry === 'object' && entry !== null && 'types' in entry ? String(entry.types) : undefined
  )
  return types.flatMap(path => path === undefined ? [] : [join(root, 'packages', folder, path)]).filter(
    path => existsSync(path)
  )
}

/** Checks that every type which a package's exports use is exported by a package. */
function checkExports (packages: readonly Package[]): void {
  problems.push(...hiddenTypes(packages.map(one => ({ name: one.name, entries: entries(one) }))))
}

try {
  const packages = await pack(work)
  checkExports(packages)
  await Promise.all([...packages.map(checkTarball), checkInstalled(packages), checkReturnedTypes(packages),
    checkReadme(packages)])
  for (const problem of problems) console.error(`- ${problem}`)
  console.log(
    problems.length === 0
      ? `${packages.length} packages are fit to publish`
      : `${problems.length} problems in ${packages.length} packages`
  )
  process.exitCode = problems.length === 0 ? 0 : 1
} finally {
  rmSync(work, { recursive: true, force: true })
}
